"""How the export says that it writes: special tokens, what is never written, and how long a text may be."""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from models.importing.failure import ImportRefused
from models.importing.folder import CONFIG_FILE, GENERATION_FILE, Export
from models.importing.step_graph import LOGITS, TOKENS
from server.manifest import GenerationSpec

DEFAULT_MAX_LENGTH = 512
"""Of source and text, where the network has no table of positions and nobody says what it was trained on."""

# Fields of the library's generation_config that change what is written: the value that changes nothing, and what a
# caller of the server asks for to have the same; None: the server has no such thing.
_DEFAULTS: dict[str, tuple[object, str | None]] = {
    "num_beams": (1, "num_beams"),
    "length_penalty": (1.0, "length_penalty"),
    "early_stopping": (False, None),
    "do_sample": (False, "temperature"),
    "min_length": (0, "min_tokens"),
    "min_new_tokens": (None, "min_tokens"),
    "repetition_penalty": (1.0, "repetition_penalty"),
    "no_repeat_ngram_size": (0, None),
    "encoder_no_repeat_ngram_size": (0, None),
    "encoder_repetition_penalty": (1.0, None),
    "diversity_penalty": (0.0, None),
    "num_beam_groups": (1, None),
    "begin_suppress_tokens": (None, None),
    "sequence_bias": (None, None),
    "forced_decoder_ids": (None, None),
    "exponential_decay_length_penalty": (None, None),
}


def longest(export: Export, wanted: int | None) -> int:
    """The most tokens of a source, and of a text.

    A table of positions is a bound; the length that the network was trained on is only where to stop by default.
    Raises ImportRefused if more is `wanted` than the table has.
    """
    table = _positive(export.config, "max_position_embeddings")
    if wanted is not None and table is not None and wanted > table:
        raise ImportRefused(f"a max length of {wanted} is more than the {table} positions that the network has")
    return wanted or table or _positive(export.config, "n_positions") or DEFAULT_MAX_LENGTH


def generation_spec(export: Export, *, vocab_size: int, max_length: int, tokenizer: str) -> GenerationSpec:
    """The manifest's `generation`, such that greedy decoding writes what the library's own `generate` writes.

    Where the library forces the end at the last place, the default of `max_tokens` leaves that place out: the text is
    the same. Raises ImportRefused where start or end are not told, or the tokens contradict each other.
    """
    start = _start(export)
    end = _ids(export, "eos_token_id")
    if not end:
        raise ImportRefused(f"neither {GENERATION_FILE} nor {CONFIG_FILE} has an eos_token_id")
    try:
        return GenerationSpec(
            tokens=TOKENS,
            logits=LOGITS,
            vocab_size=vocab_size,
            start=start,
            end=end,
            suppress=_suppressed(export.generation),
            max_length=max_length,
            max_tokens=_max_tokens(export.generation, len(start), max_length),
            tokenizer=tokenizer,
        )
    except ValidationError as error:
        reason = error.errors(include_url=False, include_input=False)[0]["msg"]
        raise ImportRefused(f"{GENERATION_FILE} cannot be right: {reason}") from error


def defaults_left_out(export: Export) -> Iterator[str]:
    """What the export does by default and the server does only when asked, or not at all; a sentence each."""
    for field, (neutral, parameter) in _DEFAULTS.items():
        value = export.generation.get(field)
        if value is None or value == neutral:
            continue
        yield f"{field} is {value} in the export; " + (
            f"callers ask for it by {parameter}" if parameter else "the server has no such thing"
        )
    several = [words for words in _bad_words(export.generation) if len(words) > 1]
    if several:
        yield f"bad_words_ids names {len(several)} sequences of several tokens; the server suppresses single tokens"
    if export.generation.get("forced_eos_token_id") is not None:
        yield "forced_eos_token_id overwrites the last token at the export's max length; the server leaves it as it is"


def _start(export: Export) -> tuple[int, ...]:
    start = _ids(export, "decoder_start_token_id") or _ids(export, "bos_token_id")
    if len(start) != 1:
        raise ImportRefused(f"neither {GENERATION_FILE} nor {CONFIG_FILE} has one decoder_start_token_id")
    forced = export.generation.get("forced_bos_token_id")
    return (*start, forced) if isinstance(forced, int) else start


def _ids(export: Export, field: str) -> tuple[int, ...]:
    value = export.generation.get(field)
    if value is None:
        value = export.config.get(field)
    values = value if isinstance(value, list) else [] if value is None else [value]
    if not all(isinstance(token, int) for token in values):
        raise ImportRefused(f"{field} is {value}, which is no token and no list of tokens")
    return tuple(values)


def _bad_words(generation: Mapping[str, Any]) -> list[list[int]]:
    words = generation.get("bad_words_ids") or []
    if not isinstance(words, list) or not all(isinstance(ids, list) for ids in words):
        raise ImportRefused(f"bad_words_ids of {GENERATION_FILE} is no list of lists of tokens")
    return words


def _suppressed(generation: Mapping[str, Any]) -> tuple[int, ...]:
    single = {ids[0] for ids in _bad_words(generation) if len(ids) == 1}
    return tuple(sorted(single | set(generation.get("suppress_tokens") or [])))


def _max_tokens(generation: Mapping[str, Any], start: int, max_length: int) -> int:
    """New tokens by default. The library counts what it forces at the beginning as new, and the end that it forces."""
    fresh, total = _positive(generation, "max_new_tokens"), _positive(generation, "max_length")
    length = fresh + 1 if fresh is not None else max_length if total is None else total
    forced_end = 0 if generation.get("forced_eos_token_id") is None else 1
    return max(1, min(length, max_length) - start - forced_end)


def _positive(values: Mapping[str, Any], field: str) -> int | None:
    value = values.get(field)
    return value if isinstance(value, int) and value > 0 else None

"""Generate: builds the request and reads the reply, without a network."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, TypedDict, Unpack

from attendant.attention import Attention, AttentionMap, attention_request, parse_attention
from attendant.common import (
    ModelVersion,
    Timing,
    Truncation,
    TruncationReport,
    model_ref,
    parse_model,
    parse_timing,
    parse_truncation,
    truncation_value,
)
from attendant.transport import Call, Method, new_request_id
from attendant.v1 import generate_pb2

GENERATE = Method("/attendant.v1.AttendantService/Generate", generate_pb2.GenerateResponse)

FinishReason: TypeAlias = Literal["unknown", "end", "stop", "length"]
"""Why a text ended: the model ended it, a stop string came, or it was long enough."""

_FINISHES: dict[int, FinishReason] = {
    generate_pb2.FINISH_REASON_END: "end",
    generate_pb2.FINISH_REASON_STOP: "stop",
    generate_pb2.FINISH_REASON_LENGTH: "length",
}


class Decoding(TypedDict, total=False):
    """How tokens are chosen; what is left out, or 0, is the server's default: greedy, up to the model's own length."""

    max_tokens: int
    """Most tokens to write, the one that ends the text included."""
    min_tokens: int
    """Tokens to write before anything may end the text."""
    stop: Sequence[str]
    """Strings that end the text where they first occur."""
    temperature: float
    """Above 0 tokens are drawn at random; below 1 the likely get likelier."""
    top_k: int
    """Draw from so many of the likeliest tokens."""
    top_p: float
    """Draw from the likeliest tokens that together have this probability."""
    min_p: float
    """Draw from tokens at least this many times as likely as the likeliest."""
    repetition_penalty: float
    """Above 1 makes tokens that are written already less likely."""
    seed: int
    """Where the random numbers of each input begin; left out, the server picks one for each and reports it."""
    num_beams: int
    """Hypotheses that are followed at once."""
    length_penalty: float
    """Above 0 favours longer hypotheses; left out: 1."""
    num_sequences: int
    """Hypotheses to return, best first."""
    logprobs: bool
    """Return each token's log probability."""
    top_logprobs: int
    """And those of so many of the likeliest tokens."""


@dataclass(frozen=True, slots=True)
class TokenProbability:
    """A token that could have been chosen, and its log probability."""

    id: int
    text: str
    logprob: float


@dataclass(frozen=True, slots=True)
class GeneratedToken:
    """A token that was written; `logprob` is 0 and `top` empty where they were not asked for."""

    id: int
    text: str
    logprob: float
    top: tuple[TokenProbability, ...]


@dataclass(frozen=True, slots=True)
class GenerationTiming:
    """Where the time of one text went, in seconds, as the server measured it; `batch_rows` is the most of any step."""

    queue_s: float
    first_token_s: float
    compute_s: float
    steps: int
    batch_rows: int


@dataclass(frozen=True, slots=True)
class GeneratedSequence:
    """One whole text, without prompt, prefix and stop string, and the tokens behind it."""

    text: str
    tokens: tuple[GeneratedToken, ...]
    score: float
    """Log probability of the tokens, that of the end included; with beams, over the length to the penalty."""
    finish_reason: FinishReason
    attention: tuple[AttentionMap, ...]
    """One map for each attention that was asked for: queries are the written tokens."""

    @property
    def ids(self) -> tuple[int, ...]:
        """The written tokens' numbers."""
        return tuple(token.id for token in self.tokens)


@dataclass(frozen=True, slots=True)
class Generation:
    """What was written for one input; several sequences, best first, only where they were asked for."""

    sequences: tuple[GeneratedSequence, ...]
    prompt_tokens: int
    seed: int
    truncation: TruncationReport | None
    """How much of a text was read; None for an image."""
    timing: GenerationTiming

    @property
    def best(self) -> GeneratedSequence:
        """The sequence with the highest score."""
        return self.sequences[0]

    @property
    def text(self) -> str:
        """The text of the best sequence."""
        return self.best.text


@dataclass(frozen=True, slots=True)
class GenerateResult:
    """One generation for each input, in their order; iterates and indexes over them."""

    results: tuple[Generation, ...]
    model: ModelVersion
    timing: Timing
    request_id: str

    def __len__(self) -> int:
        return len(self.results)

    def __iter__(self) -> Iterator[Generation]:
        return iter(self.results)

    def __getitem__(self, index: int) -> Generation:
        return self.results[index]


def generate_call(
    model: str,
    contents: Sequence[str | bytes],
    *,
    prefix: str | Sequence[str] = "",
    version: int | None = None,
    alias: str | None = None,
    truncation: Truncation = "refuse",
    attention: bool | Attention | None = None,
    request_id: str | None = None,
    **decoding: Unpack[Decoding],
) -> Call[generate_pb2.GenerateResponse, GenerateResult]:
    """The call for texts (str) and encoded images (bytes), with one prefix for all of them or one each.

    Raises ValueError for arguments that the wire cannot carry and for fewer or more prefixes than inputs, TypeError for
    an unknown argument; what the model cannot take, the server refuses.
    """
    prefixes = [prefix] * len(contents) if isinstance(prefix, str) else list(prefix)
    if len(prefixes) != len(contents):
        raise ValueError(f"{len(prefixes)} prefixes for {len(contents)} inputs: give one for all, or one each")
    request = generate_pb2.GenerateRequest(
        model=model_ref(model, version, alias),
        inputs=[generate_input(content, forced) for content, forced in zip(contents, prefixes, strict=True)],
        decoding=decoding_message(decoding),
        truncation=truncation_value(truncation),
        attention=attention_request(attention),
        request_id=request_id or new_request_id(),
    )
    return Call(GENERATE, request, parse_generate, request.request_id)


def parse_generate(reply: generate_pb2.GenerateResponse) -> GenerateResult:
    """Reads a reply.

    Raises ServerError if an attention map in it contradicts itself.
    """
    return GenerateResult(
        results=tuple(_generation(each) for each in reply.results),
        model=parse_model(reply.model),
        timing=parse_timing(reply.timing),
        request_id=reply.request_id,
    )


def generate_input(content: str | bytes, prefix: str) -> generate_pb2.GenerateInput:
    """The message of one text (str) or encoded image (bytes)."""
    if isinstance(content, str):
        return generate_pb2.GenerateInput(text=content, prefix=prefix)
    return generate_pb2.GenerateInput(image=content, prefix=prefix)


def decoding_message(chosen: Decoding) -> generate_pb2.Decoding | None:
    """The message of what was chosen; None where nothing was.

    Raises TypeError for an unknown argument, ValueError for what the wire cannot carry.
    """
    unknown = chosen.keys() - Decoding.__annotations__.keys()
    if unknown:
        raise TypeError(
            f"unknown argument {sorted(unknown)[0]!r}; decoding takes {', '.join(Decoding.__annotations__)}"
        )
    if isinstance(chosen.get("stop"), str):
        raise TypeError("stop is a sequence of strings, not one string")
    return generate_pb2.Decoding(**chosen) if chosen else None


def parse_tokens(messages: Sequence[generate_pb2.GeneratedToken]) -> tuple[GeneratedToken, ...]:
    """Reads written tokens."""
    return tuple(
        GeneratedToken(
            each.id, each.text, each.logprob, tuple(TokenProbability(one.id, one.text, one.logprob) for one in each.top)
        )
        for each in messages
    )


def parse_generation_timing(message: generate_pb2.GenerationTiming) -> GenerationTiming:
    """Reads where the time of one text went."""
    return GenerationTiming(
        message.queue_s, message.first_token_s, message.compute_s, message.steps, message.batch_rows
    )


def parse_finish(reason: int) -> FinishReason:
    """Reads why a text ended; a reason that this client does not know is `unknown`."""
    return _FINISHES.get(reason, "unknown")


def _generation(message: generate_pb2.Generation) -> Generation:
    return Generation(
        sequences=tuple(_sequence(each) for each in message.sequences),
        prompt_tokens=message.prompt_tokens,
        seed=message.seed,
        truncation=parse_truncation(message.truncation) if message.HasField("truncation") else None,
        timing=parse_generation_timing(message.timing),
    )


def _sequence(message: generate_pb2.GeneratedSequence) -> GeneratedSequence:
    return GeneratedSequence(
        text=message.text,
        tokens=parse_tokens(message.tokens),
        score=message.score,
        finish_reason=parse_finish(message.finish_reason),
        attention=tuple(parse_attention(each) for each in message.attention),
    )

"""Answers as tables for a person and as plain values for a program."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from attendant.attention import AttentionMap, Cells, Tokens
from attendant.classify import Classification, ClassifyResult
from attendant.common import ModelVersion, Timing
from attendant.words import WordWeight, word_weights

_BAR_WIDTH = 24
_MOST_WORDS = 12  # the heaviest; a table of all words of a long text would hide them
_TITLE_WIDTH = 60


def printable(text: str) -> str:
    """`text` with everything that could move the cursor or colour the terminal as a space."""
    return "".join(character if character.isprintable() else " " for character in text)


def title(text: str) -> str:
    """`text` as a heading: printable, and cut where it is long."""
    shown = printable(text)
    return shown if len(shown) <= _TITLE_WIDTH else shown[: _TITLE_WIDTH - 1] + "…"


def print_result(result: ClassifyResult, names: Sequence[str], texts: Sequence[str | None], attention: bool) -> None:
    """Prints a table of labels for each input and, with `attention`, of the words that were looked at.

    `texts` holds each input's text, None for an image.
    """
    console = Console()
    console.print(headline(result.model, result.timing))
    for each, name, text in zip(result, names, texts, strict=True):
        console.print(_one(each, name, text, attention))


def headline(model: ModelVersion, timing: Timing) -> Text:
    """Who answered, and how long it took."""
    alias = f" ({model.alias})" if model.alias else ""
    return Text(
        f"{printable(model.name)} version {model.version}{printable(alias)} · "
        f"{1000 * timing.request_s:.1f} ms, of it queue {1000 * timing.queue_s:.1f}, "
        f"compute {1000 * timing.compute_s:.1f}",
        style="dim",
    )


def call_json(model: ModelVersion, timing: Timing, request_id: str) -> dict[str, Any]:
    """What the JSON of every call begins with: who answered, under which id, how long it took."""
    return {
        "model": {"name": model.name, "version": model.version, "alias": model.alias},
        "request_id": request_id,
        "timing": {
            "queue_s": timing.queue_s,
            "compute_s": timing.compute_s,
            "request_s": timing.request_s,
            "batch_rows": timing.batch_rows,
        },
    }


def as_json(result: ClassifyResult, names: Sequence[str], texts: Sequence[str | None]) -> dict[str, Any]:
    """The result as values for `json.dumps`; attention as weights of words, cells or keys."""
    return {
        **call_json(result.model, result.timing, result.request_id),
        "results": [_plain(each, name, text) for each, name, text in zip(result, names, texts, strict=True)],
    }


def _plain(result: Classification, name: str, text: str | None) -> dict[str, Any]:
    return {
        "input": name,
        "labels": [{"name": label.name, "index": label.index, "score": label.score} for label in result.labels],
        "truncated": result.truncation is not None and result.truncation.truncated,
        "attention": [_plain_map(each, text) for each in result.attention],
    }


def _plain_map(attention: AttentionMap, text: str | None) -> dict[str, Any]:
    plain: dict[str, Any] = {"name": attention.name, "reduction": attention.reduction}
    if isinstance(attention.key, Cells):
        plain["cells"] = attention.cell_weights().tolist()
    elif isinstance(attention.key, Tokens) and text is not None:
        plain["words"] = [
            {"word": each.word, "start": each.start, "end": each.end, "weight": each.weight}
            for each in word_weights(attention, text)
        ]
    else:
        plain["keys"] = attention.key_weights().tolist()
    return plain


def _one(result: Classification, name: str, text: str | None, attention: bool) -> RenderableType:
    parts: list[RenderableType] = [
        Text(""),
        Text(title(name), style="bold"),
        _bars("label", [(label.name, label.score) for label in result.labels], most=1.0),
    ]
    if result.truncation is not None and result.truncation.truncated:
        kept, whole = result.truncation.kept_length, result.truncation.original_length
        parts.append(Text(f"read {kept} of {whole} tokens", style="yellow"))
    if attention and text is not None:
        parts += [_words(each, text) for each in result.attention if isinstance(each.key, Tokens)]
    return Group(*parts)


def _words(attention: AttentionMap, text: str) -> RenderableType:
    seen = [each for each in word_weights(attention, text) if each.weight > 0]
    heaviest = sorted(seen, key=_weight, reverse=True)[:_MOST_WORDS]
    most = heaviest[0].weight if heaviest else 0.0
    return _bars(f"looked at ({attention.name})", [(each.word, each.weight) for each in heaviest], most)


def _weight(word: WordWeight) -> float:
    return word.weight


def _bars(heading: str, rows: Sequence[tuple[str, float]], most: float) -> Table:
    """Names with numbers, and bars of which `most` is the longest."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column(Text(printable(heading)), min_width=20)
    table.add_column("", justify="right")
    table.add_column("", min_width=_BAR_WIDTH)
    for name, value in rows:
        length = round(_BAR_WIDTH * value / most) if most > 0 else 0
        table.add_row(Text(printable(name)), f"{value:.3f}", Text("█" * length, style="cyan"))
    return table

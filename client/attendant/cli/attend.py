"""`attendant attend`: vectors from a file, the weights between them as a heat map in the terminal."""

import io
import json
import sys
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import typer
from rich.console import Console, Group, RenderableType
from rich.style import Style
from rich.text import Text

from attendant.attend import DEFAULT_MECHANISM, AttendResult, Floats
from attendant.cli.connection import ADDRESS, TIMEOUT_S, Address, Json, Timeout, Tls, connected, wrong_use
from attendant.cli.rendering import call_json, headline

_FIELDS = ("query", "key", "value", "mask")
_MOST_NUMBERS = 10  # keys up to which each weight is written out
_MOST_ROWS = 40
_SHADES = " ░▒▓█"  # so that a map still reads without colours


def attend(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="An .npz file or JSON with query, key, value, …; - for JSON on stdin.")
    ],
    model: Annotated[str, typer.Option("--model", help="The mechanism.")] = DEFAULT_MECHANISM,
    version: Annotated[int | None, typer.Option("--version", min=1, help="Version of the model.")] = None,
    alias: Annotated[str | None, typer.Option("--alias", help="Alias of a version, such as stable or canary.")] = None,
    address: Address = ADDRESS,
    timeout_s: Timeout = TIMEOUT_S,
    tls: Tls = False,
    json_output: Json = False,
) -> None:
    """Computes attention by itself and shows who took how much from whom.

    The file holds query, key, value and, if any, mask; whatever else it holds are the parameters of the mechanism.
    """
    with connected(address, timeout_s, tls, json_output) as client:
        arrays = _read(file)
        missing = [name for name in _FIELDS[:3] if name not in arrays]
        if missing:
            wrong_use(f"{file} lacks {', '.join(missing)}")
        result = client.attend(
            arrays["query"],
            arrays["key"],
            arrays["value"],
            arrays.get("mask"),
            model=model,
            parameters={name: array for name, array in arrays.items() if name not in _FIELDS},
            version=version,
            alias=alias,
        )
    if json_output:
        typer.echo(json.dumps(_as_json(result)))
    else:
        console = Console()
        console.print(Group(*_shown(result, console.width)))


def _read(file: str) -> Mapping[str, npt.NDArray[Any]]:
    content = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    try:
        if content.startswith(b"PK"):
            with np.load(io.BytesIO(content), allow_pickle=False) as archive:
                return {name: archive[name] for name in archive.files}
        document = json.loads(content)
        if not isinstance(document, dict):
            wrong_use(f"{file} is not a JSON object with query, key and value")
        document |= document.pop("parameters", {})
        return {name: np.asarray(value) for name, value in document.items()}
    except (ValueError, TypeError, zipfile.BadZipFile) as error:
        raise ValueError(f"{file} holds no arrays: {error}") from error


def _as_json(result: AttendResult) -> dict[str, Any]:
    return {
        **call_json(result.model, result.timing, result.request_id),
        "results": [{"context": each.context.tolist(), "weights": each.weights.tolist()} for each in result],
    }


def _shown(result: AttendResult, width: int) -> Iterator[RenderableType]:
    yield headline(result.model, result.timing)
    for each in result:
        heads = each.weights if each.weights.ndim == 3 else each.weights[None]
        for number, weights in enumerate(heads):
            title = "weights" if each.weights.ndim == 2 else f"weights of head {number}"
            yield Text(f"\n{title}: {weights.shape[0]} queries, {weights.shape[1]} keys", style="bold")
            yield heat_grid(weights, width)
        yield Text("\ncontext", style="bold")
        yield Text(np.array2string(each.context, precision=4, suppress_small=True, threshold=100))


def heat_grid(weights: Floats, width: int) -> Text:
    """Weights [queries, keys] as coloured cells, a line for each query; up to ten keys as numbers, more as shades.

    A shade takes one of the `width` characters of a line. The largest weight shown is at full heat. What does not
    fit is left out, and says so.
    """
    rows, columns = weights.shape
    shown = weights[:_MOST_ROWS, : max(width, _MOST_NUMBERS)]
    hottest = float(shown.max(initial=0.0))
    heat = shown / hottest if hottest > 0 else np.zeros_like(shown)
    grid = Text()
    for line, (row, hot) in enumerate(zip(shown, heat, strict=True)):
        grid.append("\n" if line else "")
        for weight, warm, colour in zip(row, hot, _ramp(hot), strict=True):
            shade = _SHADES[round(float(warm) * (len(_SHADES) - 1))]
            cell = f" {weight:.3f} " if columns <= _MOST_NUMBERS else shade
            grid.append(cell, _style(colour, numbers=columns <= _MOST_NUMBERS))
    if shown.size < weights.size:
        grid.append(f"\n(the first {shown.shape[0]} of {rows} queries, {shown.shape[1]} of {columns} keys)", "dim")
    return grid


def _ramp(heat: Floats) -> Floats:
    """A line of heat (keys,) as colours (keys, 3)."""
    from attendant.heatmap import colours  # Pillow is slow to import and rarely needed

    line: Floats = colours(heat[None])[0]
    return line


def _style(colour: Floats, *, numbers: bool) -> Style:
    """Black or white numbers on the colour, whichever reads better; a shade is all colour."""
    red, green, blue = (round(float(part)) for part in colour)
    hot = f"rgb({red},{green},{blue})"
    if not numbers:
        return Style.parse(f"{hot} on {hot}")
    dark = 0.299 * red + 0.587 * green + 0.114 * blue < 128
    return Style.parse(f"{'white' if dark else 'black'} on {hot}")

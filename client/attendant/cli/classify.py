"""`attendant classify`: texts and images from arguments, files or standard input."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from attendant.attention import Cells
from attendant.classify import Classification
from attendant.cli.connection import ADDRESS, TIMEOUT_S, Address, Json, Timeout, Tls, connected, wrong_use
from attendant.cli.rendering import as_json, print_result

_IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp"})


@dataclass(frozen=True, slots=True)
class _Argument:
    """One input as it was named and what it held: a text, or the bytes of an image."""

    name: str
    content: str | bytes

    @property
    def text(self) -> str | None:
        return self.content if isinstance(self.content, str) else None


def classify(
    model: Annotated[str, typer.Argument(help="Name of the model.")],
    inputs: Annotated[
        list[str],
        typer.Argument(metavar="TEXT_OR_FILE...", help="A text; the path of an image or text file; - for stdin."),
    ],
    version: Annotated[int | None, typer.Option("--version", min=1, help="Version of the model.")] = None,
    alias: Annotated[str | None, typer.Option("--alias", help="Alias of a version, such as stable or canary.")] = None,
    top_k: Annotated[int, typer.Option("--top-k", min=0, help="Most labels for each input; 0 for all.")] = 3,
    threshold: Annotated[float, typer.Option("--threshold", min=0, max=1, help="Lowest score to show.")] = 0.0,
    truncation: Annotated[
        str, typer.Option("--truncation", help="For a text that is too long: refuse, cut_end or cut_start.")
    ] = "refuse",
    attention: Annotated[bool, typer.Option("--attention", help="Show where the model looked.")] = False,
    heatmap: Annotated[
        Path | None, typer.Option("--heatmap", metavar="OUT.PNG", help="Draw where the model looked over the image.")
    ] = None,
    address: Address = ADDRESS,
    timeout_s: Timeout = TIMEOUT_S,
    tls: Tls = False,
    json_output: Json = False,
) -> None:
    """Finds the labels that fit each text or image.

    An argument that names a file is read from it; bytes that are UTF-8 are a text, all others an image.
    """
    with connected(address, timeout_s, tls, json_output) as client:
        arguments = [_argument(each) for each in inputs]
        if heatmap is not None and any(each.text is not None for each in arguments):
            wrong_use("--heatmap draws over images; a text has none")
        result = client.classify(
            model,
            [each.content for each in arguments],
            version=version,
            alias=alias,
            top_k=top_k,
            score_threshold=threshold,
            truncation=truncation,  # type: ignore[arg-type]  # an unknown one is refused by the client
            attention=attention or heatmap is not None,
        )
        names, texts = [each.name for each in arguments], [each.text for each in arguments]
        if json_output:
            typer.echo(json.dumps(as_json(result, names, texts), ensure_ascii=False))
        else:
            print_result(result, names, texts, attention)
        if heatmap is not None:
            _draw(heatmap, arguments, result.results)


def _argument(named: str) -> _Argument:
    if named == "-":
        return _Argument("standard input", _content(sys.stdin.buffer.read()))
    path = Path(named)
    if _is_file(path):
        return _Argument(named, _content(path.read_bytes()))
    if path.suffix.lower() in _IMAGE_SUFFIXES and len(named.split()) == 1:
        wrong_use(f"there is no image file {named}")
    return _Argument(named, named)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a long text is no file name
        return False


def _content(content: bytes) -> str | bytes:
    """A text where the bytes are UTF-8; encoded images never are, their headers see to that."""
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return content
    return content if "\0" in text else text


def _draw(target: Path, arguments: Sequence[_Argument], results: Sequence[Classification]) -> None:
    """Writes one PNG per image: to `target`, or to numbered siblings of it where there are several."""
    from attendant.heatmap import overlay  # Pillow is slow to import and rarely needed

    for number, (argument, result) in enumerate(zip(arguments, results, strict=True), start=1):
        over_cells = next((each for each in result.attention if isinstance(each.key, Cells)), None)
        if over_cells is None:
            wrong_use("--heatmap needs a model that attends over the cells of an image")
        path = target if len(results) == 1 else target.with_stem(f"{target.stem}-{number}")
        image = argument.content if isinstance(argument.content, bytes) else argument.content.encode()
        path.write_bytes(overlay(image, over_cells.cell_weights()))

"""What the person gave: a text, a text file or an image file, through the version's own codec; or bare tensors."""

from collections.abc import Mapping
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from models.explain.explanation import Content
from server.codecs import Codec, EncodedRow, TextCodec, Truncation
from server.errors import SignatureMismatch, UndecodableInput
from server.manifest import FixedAxis, FreeAxis, InputSpec, LengthAxis, Manifest, RowAxis
from server.tensors import NUMPY_DTYPES, Array

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp"})
_SHOWN_CHARACTERS = 64


def read_content(given: str, codec: Codec | None, truncation: Truncation = Truncation.REFUSE) -> Content:
    """Reads and encodes an input: for a text model the text itself or the name of a text file, for an image model the
    name of an image file, for a model without a codec that of an `.npz` file with an array for each input.

    Raises SignatureMismatch for content of the other kind or a file that is not there, UndecodableInput for a file
    that cannot be read, and what the codec raises: EmptyInput, SequenceTooLong, PayloadTooLarge, UndecodableInput.
    """
    file = _file(given)
    if codec is None:
        if file is None:
            raise SignatureMismatch(
                f"the model takes tensors: the input must name an .npz file, {_shown(given)} does not"
            )
        return Content(None, None, EncodedRow(_arrays(file)))
    if isinstance(codec, TextCodec):
        text = given if file is None else _text(file)
        if file is None and _names_an_image(given):
            raise SignatureMismatch(f"the model takes text, and {_shown(given)} names an image")
        return Content(text, None, codec.encode(text, truncation))
    if file is None:
        raise SignatureMismatch(f"the model takes images: the input must name a file, and {_shown(given)} is none")
    image = _bytes(file)
    return Content(None, image, codec.encode(image))


def graph_inputs(manifest: Manifest, row: EncodedRow) -> dict[str, Array]:
    """The row as the graph takes it: cast to the inputs' datatypes, absent optional inputs filled in.

    Raises SignatureMismatch if an input is missing or unknown, has other axes than the graph's, or not one row.
    """
    _check(manifest, row)
    lengths = {
        str(axis.name): size
        for spec in manifest.inputs
        if spec.name in row.inputs
        for axis, size in zip(spec.axes, row.inputs[spec.name].shape, strict=True)
        if isinstance(axis, LengthAxis | FreeAxis)
    }
    return {
        spec.name: row.inputs[spec.name].astype(NUMPY_DTYPES[spec.datatype], copy=False)
        if spec.name in row.inputs
        else _filled(spec, lengths)
        for spec in manifest.inputs
    }


def _check(manifest: Manifest, row: EncodedRow) -> None:
    for name, array in row.inputs.items():
        spec = manifest.input(name)
        if spec is None:
            known = ", ".join(one.name for one in manifest.inputs)
            raise SignatureMismatch(f"unknown input {_shown(name)}; the model takes {known}")
        if array.ndim != len(spec.axes):
            raise SignatureMismatch(f"input {name!r} has {array.ndim} axes, not {len(spec.axes)}")
        if isinstance(spec.axes[0], RowAxis) and len(array) != 1:
            raise SignatureMismatch(f"input {name!r} has {len(array)} rows: one is explained at a time")


def _filled(spec: InputSpec, lengths: Mapping[str, int]) -> Array:
    sizes = [
        1 if isinstance(axis, RowAxis) else axis.size if isinstance(axis, FixedAxis) else lengths.get(str(axis.name))
        for axis in spec.axes
    ]
    known = [size for size in sizes if size is not None]
    if not spec.optional or len(known) < len(sizes):
        raise SignatureMismatch(f"the model needs the input {spec.name!r}, which is not there")
    return np.full(known, 1 if spec.role == "mask" else spec.pad, dtype=NUMPY_DTYPES[spec.datatype])


def _file(given: str) -> Path | None:
    path = Path(given)
    try:
        return path if given and path.is_file() else None
    except OSError:  # a text is often too long for the name of a file
        return None


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise UndecodableInput(f"{file} cannot be read ({reason.lower()})") from error


def _arrays(file: Path) -> dict[str, Array]:
    try:
        with np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, AttributeError, EOFError, BadZipFile) as error:
        raise UndecodableInput(f"{file} is not a readable .npz file of arrays") from error


def _text(file: Path) -> str:
    try:
        return _bytes(file).decode()
    except UnicodeDecodeError as error:
        raise SignatureMismatch(f"the model takes text, and {file} is no text in UTF-8") from error


def _names_an_image(given: str) -> bool:
    return len(given.split()) == 1 and Path(given).suffix.lower() in IMAGE_SUFFIXES


def _shown(given: str) -> str:
    return repr(given if len(given) <= _SHOWN_CHARACTERS else given[: _SHOWN_CHARACTERS - 3] + "...")

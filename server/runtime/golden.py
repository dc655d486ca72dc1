"""Replaying `golden.npz`: a host that answers differently from the one that verified the bundle must not serve it.

Arrays are named `input.<row>.<name>` and `output.<row>.<name>`.
"""

import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from server.errors import ArtifactCorrupt, ServeError
from server.runtime.session import GraphTensor, Session
from server.tensors import Array, Datatype, bf16_to_float32

MAX_GOLDEN_BYTES = 256 * 1024**2
"""The most bytes of all arrays together, unpacked; checked before any is."""

_FLOATS = frozenset({Datatype.FP16, Datatype.BF16, Datatype.FP32, Datatype.FP64})


@dataclass(frozen=True, slots=True, eq=False)
class GoldenRow:
    """One row as it was asked and answered when the bundle was verified, each array with a row axis of one."""

    inputs: Mapping[str, Array]
    outputs: Mapping[str, Array]


def replay(path: Path, session: Session, tolerance: float) -> int:
    """Runs every row of the file through the session and returns their number.

    A floating-point output may differ by `tolerance` at any element, all others not at all; NaN equals NaN.

    Raises ArtifactCorrupt if the file is malformed or holds no row, the session fails on a row, or an answer differs.
    """
    rows = read_golden(path)
    for number, row in enumerate(rows):
        where = f"{path.name}: row {number}"
        declared = {tensor.name: tensor for tensor in session.outputs}
        unknown = sorted(set(row.outputs) - set(declared))
        if unknown or not row.outputs:
            raise ArtifactCorrupt(f"{where} has no output, or one unknown to the graph: {unknown}")
        try:
            answers = session.run(row.inputs, list(row.outputs))
        except ServeError as error:
            raise ArtifactCorrupt(f"{path.name}: the graph fails on row {number}") from error
        for name, answer in answers.items():
            _compare(where, declared[name], answer, row.outputs[name], tolerance)
    return len(rows)


def read_golden(path: Path) -> Sequence[GoldenRow]:
    """The rows in order. Raises ArtifactCorrupt where the file is malformed, too large, or holds none."""
    rows: dict[str, dict[str, dict[str, Array]]] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > MAX_GOLDEN_BYTES:
                raise ArtifactCorrupt(f"{path.name} unpacks to more than {MAX_GOLDEN_BYTES} bytes")
        for name, array in _arrays(path):
            kind, row, tensor = name.split(".", 2)
            rows.setdefault(row, {"input": {}, "output": {}})[kind][tensor] = array
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        raise ArtifactCorrupt(f"{path.name} is no archive of golden rows") from error
    if not rows:
        raise ArtifactCorrupt(f"{path.name} holds no row")
    return [GoldenRow(row["input"], row["output"]) for _, row in sorted(rows.items())]


def _arrays(path: Path) -> Iterator[tuple[str, Array]]:
    with np.load(path, allow_pickle=False) as archive:
        for name in archive.files:
            yield name, archive[name]


def _compare(where: str, tensor: GraphTensor, answer: Array, expected: Array, tolerance: float) -> None:
    output = f"{where}: output {tensor.name}"
    if answer.shape != expected.shape:
        raise ArtifactCorrupt(f"{output} has shape {list(answer.shape)} instead of {list(expected.shape)}")
    if tensor.datatype is Datatype.BYTES:
        if answer.tolist() != expected.tolist():
            raise ArtifactCorrupt(f"{output} differs on this host")
        return
    if answer.dtype != expected.dtype:
        raise ArtifactCorrupt(f"{output} has dtype {answer.dtype} instead of {expected.dtype}")
    allowed = tolerance if tensor.datatype in _FLOATS else 0.0
    error = _largest_difference(tensor.datatype, answer, expected)
    if error > allowed:
        raise ArtifactCorrupt(f"{output} differs by {error:.3g} on this host, more than the {allowed:.3g} allowed")


def _largest_difference(datatype: Datatype, answer: Array, expected: Array) -> float:
    if datatype is Datatype.BF16:
        answer, expected = (bf16_to_float32(array.astype(np.uint16)) for array in (answer, expected))
    equal = answer == expected
    if datatype not in _FLOATS:
        return 0.0 if equal.all() else np.inf
    equal = equal | (np.isnan(answer) & np.isnan(expected))
    with np.errstate(invalid="ignore", over="ignore"):
        difference = np.abs(answer.astype(np.float64) - expected.astype(np.float64))
    # What is not equal and still has no difference (a NaN, infinities of either sign) is as far off as can be.
    return float(np.where(equal, 0.0, np.nan_to_num(difference, nan=np.inf, posinf=np.inf)).max(initial=0.0))

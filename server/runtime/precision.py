"""How far answers in a lower precision are from the fp32 answers to the same rows."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from server.errors import ArtifactCorrupt
from server.tensors import Array


@dataclass(frozen=True, slots=True)
class PrecisionError:
    """A distance from fp32 answers."""

    max_error: float
    """The largest absolute difference of any element; infinite where one is NaN or infinite and the other is not."""
    min_cosine: float
    """The smallest cosine between a row and the same row in fp32, each as one vector: 1 where they point alike."""
    by_output: Mapping[str, "PrecisionError"] = field(default_factory=dict)
    """The same of each output alone; empty in those."""


def measure_error(answers: Sequence[Mapping[str, Array]], expected: Sequence[Mapping[str, Array]]) -> PrecisionError:
    """Holds answers against the expected ones, run by run, over all floating-point outputs; rows lead each array.

    Other outputs are not compared: a class or a count is right or wrong, but not near. Without anything to compare,
    the error is 0 and the cosine 1.

    Raises ArtifactCorrupt if an answer lacks an output that is expected, or has it in another shape.
    """
    found: dict[str, list[PrecisionError]] = {}
    for answer, wanted in zip(answers, expected, strict=True):
        for name, reference in wanted.items():
            if reference.dtype.kind == "f":
                found.setdefault(name, []).append(_of_output(name, answer.get(name), reference))
    by_output = {name: _worst(errors) for name, errors in found.items()}
    worst = _worst(list(by_output.values()))
    return PrecisionError(worst.max_error, worst.min_cosine, by_output)


def _of_output(name: str, answer: Array | None, expected: Array) -> PrecisionError:
    if answer is None or answer.shape != expected.shape:
        got = "is missing" if answer is None else f"has shape {list(answer.shape)}"
        raise ArtifactCorrupt(f"output {name} {got} instead of having shape {list(expected.shape)}, as in fp32")
    left, right = (array.astype(np.float64) for array in (answer, expected))
    alike = (left == right) | (np.isnan(left) & np.isnan(right))
    with np.errstate(invalid="ignore"):
        differences = np.where(alike, 0.0, np.nan_to_num(np.abs(left - right), nan=np.inf, posinf=np.inf))
    cosines = (_cosine(one, other) for one, other in zip(_rows(left), _rows(right), strict=True))
    return PrecisionError(float(differences.max(initial=0.0)), min(cosines, default=1.0))


def _rows(array: NDArray[np.float64]) -> Iterator[NDArray[np.float64]]:
    return (row.ravel() for row in (array if array.ndim else array[None]))


def _cosine(answer: NDArray[np.float64], expected: NDArray[np.float64]) -> float:
    """Over what is finite in fp32; -1 where the answer is not finite there. Two zero vectors point alike."""
    finite = np.isfinite(expected)
    answer, expected = answer[finite], expected[finite]
    if not np.isfinite(answer).all():
        return -1.0
    if np.array_equal(answer, expected):
        return 1.0
    lengths = float(np.linalg.norm(answer)), float(np.linalg.norm(expected))
    if not all(lengths):
        return 0.0
    return float(np.clip((answer / lengths[0]) @ (expected / lengths[1]), -1.0, 1.0))


def _worst(errors: Sequence[PrecisionError]) -> PrecisionError:
    return PrecisionError(
        max((error.max_error for error in errors), default=0.0),
        min((error.min_cosine for error in errors), default=1.0),
    )

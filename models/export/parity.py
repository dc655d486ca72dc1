"""PyTorch against ONNX Runtime, and a row in a padded batch against the same row alone, measured.

rows -> pad -> network -> crop ┐
            └> session -> crop ┴> difference an output
row  ------->  session --------> difference to the same row out of the batch
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from models.export.rows import Row, crop_row, pad_rows, row_lengths
from models.export.trained import Trained
from server.manifest import OutputParity, ParityReport
from server.runtime.session import Session
from server.tensors import Array


@dataclass
class Difference:
    """Running largest and mean absolute difference over pairs of arrays."""

    largest: float = 0.0
    total: float = 0.0
    count: int = 0

    def add(self, ours: Array, theirs: Array) -> None:
        """Compares two arrays; another shape or a value that is not finite is an infinite difference."""
        if ours.shape != theirs.shape:
            self.largest = self.total = float("inf")
            self.count += 1
            return
        with np.errstate(invalid="ignore"):  # infinity less infinity: caught below
            gaps = np.abs(ours.astype(np.float64) - theirs.astype(np.float64))
        if gaps.size:
            gaps[~np.isfinite(gaps)] = np.inf
            self.largest = max(self.largest, float(gaps.max()))
            self.total += float(gaps.sum())
            self.count += gaps.size

    @property
    def mean(self) -> float:
        """The mean so far; 0 before the first value."""
        return self.total / self.count if self.count else 0.0


@dataclass
class _Measured:
    """What has been seen so far."""

    to_network: dict[str, Difference]
    to_alone: Difference = field(default_factory=Difference)
    batch_sizes: set[int] = field(default_factory=set)
    lengths: set[int] = field(default_factory=set)


def measure_parity(
    trained: Trained, session: Session, cases: Iterable[Sequence[Row]], tolerance: float
) -> ParityReport:
    """Runs every case, as one batch, through network and session; reports, and leaves the judgement to the caller."""
    outputs = trained.signature.outputs
    measured = _Measured({spec.name: Difference() for spec in outputs})
    for case in cases:
        _compare(trained, session, case, measured)
    return ParityReport(
        tolerance=tolerance,
        outputs=tuple(
            OutputParity(output=name, max_error=difference.largest, mean_error=difference.mean)
            for name, difference in measured.to_network.items()
        ),
        batched_equals_alone_max_error=measured.to_alone.largest,
        batch_sizes=tuple(sorted(measured.batch_sizes)),
        lengths=tuple(sorted(measured.lengths)),
    )


def run_network(trained: Trained, batch: Mapping[str, Array]) -> dict[str, Array]:
    """The network's own answer to a batch, by output name."""
    with torch.inference_mode():
        output = trained.network(**{name: torch.from_numpy(array) for name, array in batch.items()})
        flat = trained.task.flatten(output)
    return {spec.name: tensor.numpy() for spec, tensor in zip(trained.signature.outputs, flat, strict=True)}


def _compare(trained: Trained, session: Session, rows: Sequence[Row], measured: _Measured) -> None:
    inputs, outputs = trained.signature.inputs, trained.signature.outputs
    batch = pad_rows(rows, inputs)
    expected, answered = run_network(trained, batch), session.run(batch)
    measured.batch_sizes.add(len(rows))
    measured.lengths.update(row_lengths(batch, inputs).values())
    for index, row in enumerate(rows):
        lengths = row_lengths(row, inputs)
        cropped = crop_row(answered, index, outputs, lengths)
        for name, array in crop_row(expected, index, outputs, lengths).items():
            measured.to_network[name].add(array, cropped[name])
        if len(rows) > 1:
            _compare_alone(session, row, cropped, measured.to_alone)


def _compare_alone(session: Session, row: Row, cropped: Mapping[str, Array], difference: Difference) -> None:
    alone = session.run(row)
    for name, array in cropped.items():
        difference.add(alone[name], array)

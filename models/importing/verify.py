"""Proves an import: what its two graphs answer is what the export's three answer, alone and in any batch.

    sources, tokens -> the export's graphs, one padded batch ──┐
                    -> the bundle's, one padded batch ─────────┴> difference of the logits
                    -> the bundle's, each encoded alone and joined ┐
                    -> the bundle's, each row alone ───────────────┴> difference to the row in company

A candidate that passes gets the parity report, golden rows and the digests of all files that were verified.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import numpy as np

from models.export.bundle import read_candidate, write_manifest
from models.export.cases import generated_cases, sample_cases
from models.export.digest import digests
from models.export.failure import CandidateUnusable, ParityFailed
from models.export.parity import Difference
from models.export.report import is_invariant
from models.export.rows import Row, pad_rows, row_lengths
from models.importing.folder import Export, known_words
from models.importing.samples import sample_rows
from models.importing.walk import Exported, Imported, exported, imported
from server.manifest import GOLDEN_FILE, MANIFEST_FILE, GenerationSpec, Manifest, OutputParity, ParityReport
from server.tensors import Array

STEPS = 6
"""Tokens of a walk, the start included."""
GOLDEN_ROWS, GOLDEN_STEPS = 2, 3
_SEED = 0


@dataclass
class _Measured:
    """What has been seen so far."""

    to_export: Difference = field(default_factory=Difference)
    to_alone: Difference = field(default_factory=Difference)
    batch_sizes: set[int] = field(default_factory=set)
    lengths: set[int] = field(default_factory=set)


def verify_import(export: Export, bundle: Path) -> ParityReport:
    """Measures a candidate against the export that it was made of and, if it passes, writes the proof into it.

    A candidate that failed holds no proof, not even an older one.
    Raises CandidateUnusable if the candidate or the export cannot be read or run, or its tokenizer cannot encode;
    ParityFailed (with the report) if logits are over the tolerance.
    """
    manifest = read_candidate(bundle).model_copy(update={"parity": None, "golden": None, "files": {}})
    spec = manifest.generation
    if spec is None:
        raise CandidateUnusable(f"{bundle} is no import: it does not say how it writes")
    write_manifest(bundle, manifest)
    samples = sample_rows(bundle, manifest, known_words(export, spec.vocab_size))
    cases = chain(sample_cases(samples, manifest.inputs), generated_cases(samples, manifest.inputs, _SEED, traced=0))
    with exported(export) as theirs, imported(bundle, manifest) as ours:
        report = _measure(manifest, spec, theirs, ours, cases)
        _judge(report)
        _write_golden(bundle, ours, samples, _walks(np.random.default_rng(_SEED), GOLDEN_ROWS, GOLDEN_STEPS, spec))
    write_manifest(bundle, _with_proof(bundle, manifest, report))
    return report


def _measure(
    manifest: Manifest, spec: GenerationSpec, theirs: Exported, ours: Imported, cases: Iterable[Sequence[Row]]
) -> ParityReport:
    measured, rng = _Measured(), np.random.default_rng(_SEED)
    for case in cases:
        batch = pad_rows(case, manifest.inputs)
        tokens = _walks(rng, len(case), STEPS, spec)
        together = ours.walk(ours.start(batch), tokens)
        measured.to_export.add(theirs.walk(batch, tokens), together)
        measured.batch_sizes.add(len(case))
        measured.lengths.update(row_lengths(batch, manifest.inputs).values())
        if len(case) > 1:
            _compare_alone(ours, case, tokens, together, measured.to_alone)
    tolerance = min(graph.tolerance for graph in manifest.graphs)
    return ParityReport(
        tolerance=tolerance,
        outputs=(
            OutputParity(output=spec.logits, max_error=measured.to_export.largest, mean_error=measured.to_export.mean),
        ),
        batched_equals_alone_max_error=measured.to_alone.largest,
        batch_sizes=tuple(sorted(measured.batch_sizes)),
        lengths=tuple(sorted(measured.lengths)),
    )


def _compare_alone(ours: Imported, case: Sequence[Row], tokens: Array, together: Array, difference: Difference) -> None:
    """Rows alone, against the same out of a batch, and out of company that they joined after they were encoded."""
    starts = [ours.start(row) for row in case]
    joined = ours.walk(ours.together(starts), tokens)
    for index, start in enumerate(starts):
        alone = ours.walk(start, tokens[index : index + 1])
        difference.add(alone[0], together[index])
        difference.add(alone[0], joined[index])


def _walks(rng: np.random.Generator, rows: int, steps: int, spec: GenerationSpec) -> Array:
    """What is written at the start and any tokens after it: [row, token], as many as the model has positions for."""
    steps = min(max(steps, len(spec.start) + 1), spec.max_length)
    tokens: Array = rng.integers(0, spec.vocab_size, (rows, steps), dtype=np.int64)
    tokens[:, : len(spec.start)] = spec.start
    return tokens


def _judge(report: ParityReport) -> None:
    error = report.outputs[0].max_error
    if not error <= report.tolerance:
        raise ParityFailed(
            f"the bundle's graphs differ from the export's by up to {error:.2e}, over the tolerance of "
            f"{report.tolerance:.0e}",
            report,
        )
    if not math.isfinite(report.batched_equals_alone_max_error):
        raise ParityFailed("a row run alone gives values that are not finite", report)


def _write_golden(bundle: Path, ours: Imported, samples: Sequence[Row], tokens: Array) -> None:
    """The shortest sources with a few tokens each, and the logits after every one."""
    chosen = sorted(samples, key=lambda row: sum(array.size for array in row.values()))[: len(tokens)]
    arrays: dict[str, Array] = {}
    for index, row in enumerate(chosen):
        walk = tokens[index : index + 1]
        arrays |= {f"input.{index}.{name}": array for name, array in row.items()}
        arrays |= {f"input.{index}.tokens": walk, f"output.{index}.logits": ours.walk(ours.start(row), walk)}
    np.savez_compressed(bundle / GOLDEN_FILE, allow_pickle=False, **arrays)


def _with_proof(bundle: Path, manifest: Manifest, report: ParityReport) -> Manifest:
    present = {path.name for path in bundle.iterdir() if path.is_file()} - {MANIFEST_FILE}
    return manifest.model_copy(
        update={
            "parity": report,
            "golden": GOLDEN_FILE,
            "batching": manifest.batching.model_copy(update={"invariant": is_invariant(report)}),
            "files": digests(bundle, present),
        }
    )

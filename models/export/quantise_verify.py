"""The part of verification that is about graphs in int8: against PyTorch, within a tolerance that is itself bounded."""

from collections.abc import Sequence
from itertools import chain

import numpy as np

from models.export.cases import generated_cases, sample_cases
from models.export.failure import CandidateUnusable, ParityFailed
from models.export.packed_parity import measure_packed, packed_mixes
from models.export.parity import measure_parity, run_network
from models.export.rows import Row
from models.export.trained import Trained
from server.manifest import GraphSpec, OutputParity, ParityReport
from server.runtime.session import Session

LAXEST_TOLERANCE = 0.25
"""Of the largest number that the network answers to the samples; a tolerance above that would pass nearly anything."""


def prove_quantised(
    trained: Trained, graph: GraphSpec, session: Session, samples: Sequence[Row], fp32: ParityReport
) -> GraphSpec:
    """Holds an int8 graph against the network, and its rows in batches against the same alone; adds its parity.

    Raises CandidateUnusable if the graph does not say what it lost or its tolerance is too lax to prove anything,
    ParityFailed, with the report on the graphs in fp32, if it is further off than its tolerance.
    """
    if graph.quantisation is None:
        raise CandidateUnusable(f"{graph.file} does not say what it lost: make it with `python -m models quantise`")
    check_tolerance(graph, largest_answer(trained, samples))
    outputs, to_alone = _measure(trained, graph, session, samples)
    off = {parity.output: parity.max_error for parity in outputs if not parity.max_error <= graph.tolerance}
    if off:
        raise ParityFailed(
            f"{graph.file} differs from PyTorch by up to {max(off.values()):.2e}, "
            f"over its tolerance of {graph.tolerance:.1e}, in {', '.join(off)}",
            fp32,
        )
    if not to_alone <= graph.tolerance:
        raise ParityFailed(
            f"{graph.file} answers a row in a batch up to {to_alone:.2e} from the same row alone, "
            f"over its tolerance of {graph.tolerance:.1e}",
            fp32,
        )
    return graph.model_copy(update={"quantisation": graph.quantisation.model_copy(update={"parity": outputs})})


def without_parity(graph: GraphSpec) -> GraphSpec:
    """The graph without what verification found of it in int8."""
    if graph.quantisation is None:
        return graph
    return graph.model_copy(update={"quantisation": graph.quantisation.model_copy(update={"parity": ()})})


def check_tolerance(graph: GraphSpec, largest: float) -> None:
    """Raises CandidateUnusable if a graph whose answers reach `largest` has a tolerance that proves nothing."""
    laxest = LAXEST_TOLERANCE * largest
    if not graph.tolerance <= laxest:
        raise CandidateUnusable(
            f"{graph.file} has a tolerance of {graph.tolerance:.2g}; above {laxest:.2g}, a quarter of the largest "
            "answer, it proves nothing"
        )


def largest_answer(trained: Trained, samples: Sequence[Row]) -> float:
    """The largest magnitude in what the network answers to the samples, attention weights not counted."""
    answers = [spec.name for spec in trained.signature.outputs if spec.role != "attention"]
    return max(
        float(np.abs(array).max(initial=0.0))
        for row in samples
        for name, array in run_network(trained, row).items()
        if name in answers
    )


def _measure(
    trained: Trained, graph: GraphSpec, session: Session, samples: Sequence[Row]
) -> tuple[tuple[OutputParity, ...], float]:
    """How far each output is from PyTorch, and the largest difference between a row in a batch and the same row alone.

    Of a packed graph the second is 0: its rows are held against the network's answers to them alone anyway.
    """
    inputs, seed, traced = trained.signature.inputs, trained.record.seed, trained.signature.example_length
    if graph.layout != "rows":
        return measure_packed(trained, graph, session, packed_mixes(trained, samples, seed)).outputs, 0.0
    cases = chain(sample_cases(samples, inputs), generated_cases(samples, inputs, seed, traced))
    report = measure_parity(trained, session, cases, graph.tolerance)
    return report.outputs, report.batched_equals_alone_max_error

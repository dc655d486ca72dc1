"""Graphs in int8 of a model that writes token by token, against those in fp32 that they were made from.

A step in int8 is measured as it serves: with the graph that encodes in int8, over whole texts.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from models.export.cases import sample_rows
from models.export.proof import opened
from models.export.quantise_compare import Answerer, Comparison, compare
from models.export.quantise_held_out import BATCH_ROWS, HeldOut
from models.export.rows import Row, crop_row, pad_rows, row_lengths
from models.export.stepwise import encode_outputs
from models.export.stepwise_cases import fewer, sample_texts, written_cases
from models.export.stepwise_parity import stepwise_network
from models.export.trained import Trained
from models.export.verify_stepwise import threads_for, walker_of
from models.export.walk import Walker
from models.networks.stepwise import TOKENS
from server.manifest import GraphSpec, Manifest
from server.runtime.session import Session
from server.tensors import Array

MOST_TOKENS = 60_000
"""Of held-out texts that are written to see what they lose; each is written three times, token by token."""


def compare_stepwise(
    trained: Trained,
    draft: Path,
    manifest: Manifest,
    source: GraphSpec,
    int8_file: Callable[[str], str],
    judged: HeldOut | None,
) -> Comparison:
    """Compares the int8 form of one graph with its source; `int8_file` names the former.

    Held-out texts are written by the first step graph alone: the others compute the same.
    Raises CandidateUnusable if a graph does not open or cannot be run.
    """
    rounded_graphs = tuple(
        graph.model_copy(update={"file": int8_file(graph.file), "precision": "int8"})
        for graph in manifest.graphs
        if graph.precision == "fp32"
    )
    rounded_manifest = manifest.model_copy(update={"graphs": rounded_graphs})
    rounded = next(graph for graph in rounded_graphs if graph.file == int8_file(source.file))
    first = next(graph for graph in manifest.graphs if graph.role == "step")
    seen = Comparison()
    with ExitStack() as stack:
        stack.enter_context(threads_for(stepwise_network(trained)))
        exact = stack.enter_context(walker_of(trained, draft, manifest, first if source.role == "encode" else source))
        cases = _cases(trained, draft, exact)
        if source.role == "encode":
            session = stack.enter_context(opened(draft, rounded))
            assert exact.encode is not None  # noqa: S101 - the graph is one of its manifest
            compare(_started(trained, exact.encode), _started(trained, session), cases, None, seen)
            return seen
        fewer = stack.enter_context(walker_of(trained, draft, rounded_manifest, rounded))
        compare(_texts(exact), _texts(fewer), cases, None, seen)
        if judged is not None and source == first:
            compare(_texts(exact), _texts(fewer), _held_out(judged.rows), judged.score, seen)
    return seen


def with_quality_of_texts(graphs: Sequence[GraphSpec]) -> tuple[GraphSpec, ...]:
    """The graphs, each with a report; those that together wrote the held-out texts share what was found."""
    quality = next(
        (graph.quantisation.quality for graph in graphs if graph.role == "step" and graph.quantisation is not None),
        None,
    )
    return tuple(
        graph.model_copy(update={"quantisation": graph.quantisation.model_copy(update={"quality": quality})})
        if graph.role != "run" and graph.quantisation is not None
        else graph
        for graph in graphs
    )


def _cases(trained: Trained, draft: Path, walker: Walker) -> Iterator[Sequence[Row]]:
    """Those that verification writes through such graphs."""
    samples = sample_rows(trained, draft)
    texts = sample_texts(walker, samples)
    for case in fewer(written_cases(texts, samples, trained.signature, trained.record.seed)):
        yield case.rows


def _held_out(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    """Batches of held-out texts in their order, as far as `MOST_TOKENS` go."""
    tokens = 0
    for start in range(0, len(rows), BATCH_ROWS):
        batch = rows[start : start + BATCH_ROWS]
        tokens += sum(row[TOKENS].shape[1] for row in batch)
        if tokens > MOST_TOKENS and start:
            return
        yield batch


def _texts(walker: Walker) -> Answerer:
    """Answers by writing the texts side by side."""
    return walker.walk


def _started(trained: Trained, session: Session) -> Answerer:
    """Answers by encoding the texts' sources as one padded batch."""
    inputs, outputs = trained.signature.inputs, encode_outputs(trained.signature.states)

    def answer(rows: Sequence[Row]) -> list[dict[str, Array]]:
        sources = [{spec.name: row[spec.name] for spec in inputs} for row in rows]
        batch = session.run(pad_rows(sources, inputs))
        return [crop_row(batch, index, outputs, row_lengths(row, inputs)) for index, row in enumerate(sources)]

    return answer

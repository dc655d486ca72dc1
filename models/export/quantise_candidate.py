"""Adds to a candidate an int8 graph beside each in fp32, if it loses little enough.

Everything is measured through the codec and the sessions that serve, on what the training never saw: quality with rows
alone and in batches of mixed lengths, and every difference to the graph in fp32.
"""

import math
import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from pathlib import Path

from models.export.bundle import read_candidate, write_manifest
from models.export.cases import generated_cases, sample_cases, sample_rows
from models.export.failure import CandidateUnusable, QuantisationRefused
from models.export.packed_parity import PADDINGS, packed_mixes
from models.export.quantise import graph_bytes, quantise_graph
from models.export.quantise_answers import answerer
from models.export.quantise_compare import Comparison, compare
from models.export.quantise_held_out import HeldOut, held_out
from models.export.quantise_stepwise import compare_stepwise, with_quality_of_texts
from models.export.quantise_verify import LAXEST_TOLERANCE, largest_answer
from models.export.report import stated_drop
from models.export.rows import Row
from models.export.stepwise_cases import begin_text
from models.export.stepwise_parity import largest_numbers
from models.export.trained import Trained
from models.export.weights import SharedWeights, has_shared_weights
from server.errors import ArtifactCorrupt, InferenceFailed
from server.manifest import GraphSpec, Manifest, QualityDrop, QuantisationReport
from server.runtime.session import Session

INT8_WEIGHTS_FILE = "weights.int8.bin"
LARGEST_DROP = 0.01
"""Of quality, absolute: one in a hundred examples, for accuracy."""
LEAST_COSINE = 0.95
"""Below this an answer points elsewhere, whatever a metric says of it."""
TOLERANCE_MARGIN = 2.0
"""Over the largest difference that was seen: the held-out rows are few beside those that will come."""

Progress = Callable[[str], None]
"""Told what is done next, before it is done."""


def steps(manifest: Manifest) -> int:
    """How often `quantise_candidate` tells its progress."""
    return 1 + 2 * len(_sources(manifest))


def quantise_candidate(
    trained: Trained,
    bundle: Path,
    *,
    largest_drop: float = LARGEST_DROP,
    without_quality: bool = False,
    by_default: bool = False,
    progress: Progress = lambda _: None,
) -> Manifest:
    """Writes int8 graphs into a candidate, in place of older ones; its proof is gone then, until it is verified again.

    `without_quality`: states the error to fp32 alone, for a model that has no quality or whose data is not there.
    `by_default`: the version answers in int8 unless a setting says otherwise; False leaves it in fp32.
    Raises CandidateUnusable if there is no candidate or one that cannot be run; QuantisationRefused, with what was
    measured, if a graph loses more than `largest_drop` of its quality, points elsewhere than in fp32, has nothing to
    quantise, or its quality cannot be measured. The candidate is then still as it was.
    """
    manifest = read_candidate(bundle)
    progress("reading the held-out examples" if not without_quality else "reading the samples")
    judged = None if without_quality else held_out(trained, bundle)
    draft = Path(tempfile.mkdtemp(prefix=f".{bundle.name}-", dir=bundle.parent))
    try:
        shutil.copytree(bundle, draft, dirs_exist_ok=True)
        _remove_older(draft, manifest)
        graphs = _quantise_all(trained, draft, manifest, judged, largest_drop, progress)
        _judge(graphs, _largest(trained, draft, graphs))
        quantised = manifest.model_copy(
            update={
                "graphs": (*_in_fp32(manifest), *graphs),
                "precision": "int8" if by_default else "fp32",
                "parity": None,
                "golden": None,
                "files": {},
            }
        )
        write_manifest(draft, quantised)
        draft.chmod(0o755)
        shutil.rmtree(bundle)
        draft.rename(bundle)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return quantised


def int8_file(source: str) -> str:
    """The name of the int8 graph that is made from a file."""
    return f"{Path(source).stem}.int8.onnx"


def _in_fp32(manifest: Manifest) -> tuple[GraphSpec, ...]:
    return tuple(graph for graph in manifest.graphs if graph.precision == "fp32")


def _sources(manifest: Manifest) -> tuple[GraphSpec, ...]:
    """What int8 graphs are made of: the quantiser knows matrices on the right of products only."""
    return tuple(graph for graph in _in_fp32(manifest) if graph.layout != "columns")


def _remove_older(draft: Path, manifest: Manifest) -> None:
    for name in (INT8_WEIGHTS_FILE, *(graph.file for graph in manifest.graphs if graph.precision == "int8")):
        (draft / name).unlink(missing_ok=True)


def _quantise_all(
    trained: Trained, draft: Path, manifest: Manifest, judged: HeldOut | None, largest_drop: float, progress: Progress
) -> tuple[GraphSpec, ...]:
    weights = SharedWeights(draft, INT8_WEIGHTS_FILE) if has_shared_weights(draft) else None
    for source in _sources(manifest):
        progress(f"{int8_file(source.file)}: quantising")
        quantise_graph(draft / source.file, draft / int8_file(source.file), weights)
    graphs = []
    for source in _sources(manifest):
        file = int8_file(source.file)
        progress(f"{file}: measuring against {source.file}")
        if source.role == "run":
            comparison = _measure(trained, draft, manifest, source, file, judged)
        else:  # the graphs of a text need one another
            comparison = compare_stepwise(trained, draft, manifest, source, int8_file, judged)
        graphs.append(_describe(draft, source, file, comparison, judged, largest_drop))
    return with_quality_of_texts(graphs)


def _measure(
    trained: Trained, draft: Path, manifest: Manifest, source: GraphSpec, file: str, judged: HeldOut | None
) -> Comparison:
    """The samples and made-up rows with all outputs, the held-out rows without maps, which would take long."""
    seen = Comparison()
    sessions = _open(draft / source.file), _open(draft / file)
    try:
        exact, rounded = (answerer(session, source, manifest) for session in sessions)
        compare(exact, rounded, _cases(trained, draft, source), None, seen)
        if source.layout != "rows":
            rounded = answerer(sessions[1], source, manifest, padding=PADDINGS[-1])
            compare(exact, rounded, _cases(trained, draft, source), None, seen)
        if judged is not None:
            exact, rounded = (answerer(session, source, manifest, maps=False) for session in sessions)
            compare(exact, rounded, judged.cases(trained), judged.score, seen)
    except InferenceFailed as error:
        raise CandidateUnusable(f"{file} cannot be run: {error.message}") from error
    finally:
        for session in sessions:
            session.close()
    return seen


def _cases(trained: Trained, draft: Path, source: GraphSpec) -> Iterable[Sequence[Row]]:
    """Those that verification feeds a graph of this layout."""
    inputs, seed, traced = trained.signature.inputs, trained.record.seed, trained.signature.example_length
    samples = sample_rows(trained, draft)
    if source.layout != "rows":
        return [mix.rows for mix in packed_mixes(trained, samples, seed)]
    return chain(sample_cases(samples, inputs), generated_cases(samples, inputs, seed, traced))


def _open(path: Path) -> Session:
    try:
        return Session.open(path)
    except ArtifactCorrupt as error:
        raise CandidateUnusable(f"{path}: {error.message}") from error


def _describe(
    draft: Path, source: GraphSpec, file: str, seen: Comparison, judged: HeldOut | None, largest_drop: float
) -> GraphSpec:
    quality = None
    if judged is not None and seen.rows:
        worse = min if judged.higher_is_better else max
        quality = QualityDrop(
            metric=judged.metric,
            source_value=seen.source_score / seen.rows,
            value=worse(seen.alone_score, seen.batched_score) / seen.rows,
            largest_drop=largest_drop,
            examples=seen.rows,
            higher_is_better=judged.higher_is_better,
        )
    report = QuantisationReport(
        source=source.file,
        source_bytes=graph_bytes(draft / source.file),
        bytes=graph_bytes(draft / file),
        max_error=seen.error.largest,
        min_cosine=seen.min_cosine,
        batched_equals_alone_max_error=seen.alone.largest,
        quality=quality,
    )
    tolerance = max(source.tolerance, _two_digits_up(TOLERANCE_MARGIN * seen.largest_error))
    return source.model_copy(update={"file": file, "precision": "int8", "tolerance": tolerance, "quantisation": report})


def _largest(trained: Trained, draft: Path, graphs: Sequence[GraphSpec]) -> list[float]:
    """Of each graph, the largest number that the network answers to the samples."""
    samples = sample_rows(trained, draft)
    if trained.signature.generation is None:
        return [largest_answer(trained, samples)] * len(graphs)
    started, logits = largest_numbers(trained, [begin_text(trained.signature, sample) for sample in samples])
    return [started if graph.role == "encode" else logits for graph in graphs]


def _judge(graphs: Sequence[GraphSpec], largest_of: Sequence[float]) -> None:
    """Raises QuantisationRefused for the first graph that lost too much, with all that were measured."""
    for graph, largest in zip(graphs, largest_of, strict=True):
        report = graph.quantisation
        assert report is not None  # noqa: S101 - `_describe` wrote it
        if not math.isfinite(report.max_error) or not math.isfinite(report.batched_equals_alone_max_error):
            raise QuantisationRefused(f"{graph.file} answers with what is not finite, or of another shape", graphs)
        if report.quality is not None and report.quality.excessive:
            raise QuantisationRefused(f"{graph.file} reaches {stated_drop(report.quality)}", graphs)
        if report.min_cosine < LEAST_COSINE:
            raise QuantisationRefused(
                f"{graph.file} answers in another direction than {report.source}: cosine {report.min_cosine:.4f}, "
                f"at least {LEAST_COSINE} is needed",
                graphs,
            )
        if graph.tolerance > LAXEST_TOLERANCE * largest:
            raise QuantisationRefused(
                f"{graph.file} is up to {report.max_error:.2g} from {report.source}, whose answers reach {largest:.2g}",
                graphs,
            )


def _two_digits_up(number: float) -> float:
    """The next number with two significant digits; 0 and infinity stay."""
    if number == 0 or not math.isfinite(number):
        return number
    unit = 10.0 ** (math.floor(math.log10(number)) - 1)
    return float(f"{math.ceil(number / unit) * unit:.1e}")

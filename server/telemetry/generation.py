"""How texts are written: waits, tokens and runs as they are told, slots and states as they are when somebody looks.

Steps end some thousand times a second, so they are kept and counted in bulk, as calls and batches are.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from prometheus_client.core import GaugeMetricFamily, Metric

from server.generation.observer import SAVING, GenerationState, LeaveReason, RunKind, StepRecord
from server.telemetry.bulk import Bulk
from server.telemetry.series import Count, Counts, Distribution, Distributions

_WAIT_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_TOKEN_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)

_VERSION = ("model", "version")

_Told = tuple[Callable[..., None], str, int, tuple[object, ...]]
"""An event: what counts it, model, version, and what else was told."""


@dataclass(frozen=True, slots=True)
class _Runs:
    """What a run adds to, by its version, its kind, its variant and whether it failed."""

    count: Count
    failures: Count | None
    """None for runs that did not fail; all others but `count` are None for those that did."""
    seconds: Distribution | None
    predicted_s: Count | None
    tokens: Count | None
    rows: Distribution | None
    """None for what is no step."""


@dataclass(frozen=True, slots=True)
class _Generations:
    """What the generations of one version add to."""

    joins: Count
    leaves: dict[LeaveReason, Count]
    """Of every reason, so that each counter is seen at 0 before it is seen at more."""
    steps_saved: Count
    queue_s: Distribution
    first_token_s: Distribution
    token_s: Distribution
    tokens_in: Count
    tokens_out: Count
    pauses: Count
    resumes: Count


class GenerationCounter:
    """A GenerationObserver: told on the event loop's thread, collected from another one."""

    def __init__(self, labels: Callable[[str, int], tuple[str, str]]) -> None:
        """`labels` gives a version's labels, by whether it serves."""
        self._labels = labels
        self._ran: Bulk[StepRecord] = Bulk(self._count_run)
        self._told: Bulk[_Told] = Bulk(self._count_told)
        self._runs: dict[tuple[str, int, RunKind, str, bool], _Runs] = {}
        self._generations: dict[tuple[str, int], _Generations] = {}
        self._series: list[Counts | Distributions] = []
        self._run_count = self._counter("runs_total", "Runs of a session, well or not.", "kind", "variant")
        self._run_failures = self._counter("run_failures_total", "Runs that failed.", "kind")
        self._run_s = self._histogram("run_seconds", "A run in the session.", _TOKEN_SECONDS, "kind")
        self._predicted_s = self._counter("predicted_seconds_total", "Seconds that runs were predicted to take.")
        self._run_tokens = self._counter("run_tokens_total", "Tokens computed.", "kind")
        self._run_rows = self._histogram("run_rows", "Rows of a decoding step.", _ROWS)
        self._joins = self._counter("joins_total", "Generations that took their slots.")
        self._leaves = self._counter("leaves_total", "Generations that ended.", "reason")
        self._steps_saved = self._counter("steps_saved_total", "Steps not made because nobody would have read them.")
        self._queue_s = self._histogram("queue_seconds", "A generation's wait for its slots.", _WAIT_SECONDS)
        self._first_token_s = self._histogram("first_token_seconds", "Admission to first token.", _WAIT_SECONDS)
        self._token_s = self._histogram("token_seconds", "A generation's mean time per token.", _TOKEN_SECONDS)
        self._tokens_in = self._counter("tokens_in_total", "Tokens read, of sources, prompts and prefixes.")
        self._tokens_out = self._counter("tokens_out_total", "Tokens written.")
        self._pauses = self._counter("pauses_total", "Times that a generation was paused for its reader.")
        self._resumes = self._counter("resumes_total", "Times that a paused generation was stepped again.")

    def _counter(self, name: str, documentation: str, *labels: str) -> Counts:
        series = Counts(f"attendant_generation_{name}", documentation, (*_VERSION, *labels), len(_VERSION))
        self._series.append(series)
        return series

    def _histogram(self, name: str, documentation: str, bounds: tuple[float, ...], *labels: str) -> Distributions:
        full_name = f"attendant_generation_{name}"
        series = Distributions(full_name, documentation, (*_VERSION, *labels), len(_VERSION), bounds)
        self._series.append(series)
        return series

    def collect(self) -> Iterator[Metric]:
        """All families, with everything counted that was told before; those without a series too."""
        self.settle()
        for series in self._series:
            yield from series.collect()

    def settle(self) -> None:
        """Counts what has been told but not counted yet."""
        self._ran.settle()
        self._told.settle()

    def forget(self, owners: Iterable[tuple[str, str]]) -> None:
        """Takes the series of these (model, version) labels away; settle before, while they still serve."""
        self._runs.clear()
        self._generations.clear()
        for owner in owners:
            for series in self._series:
                series.forget(*owner)

    # --- what happens ---------------------------------------------------------------------------------------------

    def step_ran(self, record: StepRecord) -> None:
        """A session has run, well or not."""
        self._ran.add(record)

    def joined(self, model: str, version: int, queue_s: float) -> None:
        """A generation took its slots."""
        self._told.add((_count_join, model, version, (queue_s,)))

    def left(self, model: str, version: int, reason: LeaveReason, steps_saved: int = 0) -> None:
        """A generation ended; the steps saved count where nobody would have read what they give."""
        self._told.add((_count_leave, model, version, (reason, steps_saved)))

    def first_token(self, model: str, version: int, seconds: float) -> None:
        """A generation's first token was there."""
        self._told.add((_count_first_token, model, version, (seconds,)))

    def finished(self, model: str, version: int, prompt_tokens: int, tokens: int, seconds_per_token: float) -> None:
        """A generation ended well."""
        self._told.add((_count_finish, model, version, (prompt_tokens, tokens, seconds_per_token)))

    def paused(self, model: str, version: int) -> None:
        """A generation is no longer stepped, because its reader is behind."""
        self._told.add((_count_pause, model, version, ()))

    def resumed(self, model: str, version: int) -> None:
        """It is stepped again."""
        self._told.add((_count_resume, model, version, ()))

    # --- counting -------------------------------------------------------------------------------------------------

    def _count_run(self, record: StepRecord) -> None:
        runs = self._runs.get((record.model, record.version, record.kind, record.variant, record.failed))
        if runs is None:
            runs = self._find_runs(record)
        runs.count.add()
        if runs.failures is not None:
            runs.failures.add()
        if runs.seconds is not None and runs.predicted_s is not None and runs.tokens is not None:
            runs.seconds.observe(record.compute_s)
            runs.predicted_s.add(record.predicted_s)
            runs.tokens.add(record.tokens)
        if runs.rows is not None:
            runs.rows.observe(record.rows)

    def _count_told(self, told: _Told) -> None:
        count, model, version, values = told
        generations = self._generations.get((model, version))
        if generations is None:
            generations = self._find_generations(model, version)
        count(generations, *values)

    def _find_runs(self, record: StepRecord) -> _Runs:
        labels, kind, ran = self._labels(record.model, record.version), record.kind.value, not record.failed
        runs = _Runs(
            count=self._run_count.of(*labels, kind, record.variant),
            failures=self._run_failures.of(*labels, kind) if record.failed else None,
            seconds=self._run_s.of(*labels, kind) if ran else None,
            predicted_s=self._predicted_s.of(*labels) if ran else None,
            tokens=self._run_tokens.of(*labels, kind) if ran else None,
            rows=self._run_rows.of(*labels) if ran and record.kind is RunKind.STEP else None,
        )
        if labels == (record.model, str(record.version)):  # a straggler's are others once its version serves again
            self._runs[record.model, record.version, record.kind, record.variant, record.failed] = runs
        return runs

    def _find_generations(self, model: str, version: int) -> _Generations:
        labels = self._labels(model, version)
        generations = _Generations(
            joins=self._joins.of(*labels),
            leaves={reason: self._leaves.of(*labels, reason.value) for reason in LeaveReason},
            steps_saved=self._steps_saved.of(*labels),
            queue_s=self._queue_s.of(*labels),
            first_token_s=self._first_token_s.of(*labels),
            token_s=self._token_s.of(*labels),
            tokens_in=self._tokens_in.of(*labels),
            tokens_out=self._tokens_out.of(*labels),
            pauses=self._pauses.of(*labels),
            resumes=self._resumes.of(*labels),
        )
        if labels == (model, str(version)):
            self._generations[model, version] = generations
        return generations


def _count_join(generations: _Generations, queue_s: float) -> None:
    generations.joins.add()
    generations.queue_s.observe(queue_s)


def _count_leave(generations: _Generations, reason: LeaveReason, steps_saved: int) -> None:
    generations.leaves[reason].add()
    if reason in SAVING:
        generations.steps_saved.add(steps_saved)


def _count_first_token(generations: _Generations, seconds: float) -> None:
    generations.first_token_s.observe(seconds)


def _count_finish(generations: _Generations, prompt_tokens: int, tokens: int, seconds_per_token: float) -> None:
    generations.tokens_in.add(prompt_tokens)
    generations.tokens_out.add(tokens)
    if tokens > 1:
        generations.token_s.observe(seconds_per_token)


def _count_pause(generations: _Generations) -> None:
    generations.pauses.add()


def _count_resume(generations: _Generations) -> None:
    generations.resumes.add()


_GAUGES: tuple[tuple[str, str, Callable[[GenerationState], int]], ...] = (
    ("slots_used", "Rows that are in the running batch.", lambda state: state.slots_used),
    ("slots", "Rows that may be in the running batch.", lambda state: state.slots),
    ("state_bytes", "Bytes that the state buffers take.", lambda state: state.state_bytes),
    ("state_capacity_bytes", "Bytes that they may take.", lambda state: state.state_capacity_bytes),
    ("waiting", "Generations that wait for slots.", lambda state: state.waiting),
    ("waiting_capacity", "Generations that may wait before further ones are refused.", lambda s: s.waiting_capacity),
    ("paused", "Rows that are not stepped, because their reader is behind.", lambda state: state.paused),
)


class GenerationCollector:
    """Emits the gauges; `states` is asked from the scraping thread."""

    def __init__(self, states: Callable[[], Iterable[GenerationState]]) -> None:
        self._states = states

    def collect(self) -> Iterator[Metric]:
        """All families, even where nothing generates."""
        states = tuple(self._states())
        for name, documentation, value in _GAUGES:
            family = GaugeMetricFamily(f"attendant_generation_{name}", documentation, labels=_VERSION)
            for state in states:
                family.add_metric((state.model, str(state.version)), value(state))
            yield family

"""Loads one version off the serving path: verify, open, replay, measure; what comes out is ready for its first request.

bundle -> graphs of each precision -> golden rows -> alone = together? -> costs -> variants that are worth it
"""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from server.batching.cost import Cost
from server.batching.variant import BatchLimits, Variant
from server.codecs import Codec, build_codec
from server.codecs.codec import CodecLimits
from server.errors import ArtifactCorrupt, ModelNotReady, ServeError
from server.loading.calibration import measure, warm_largest, warm_lattice
from server.loading.cost_cache import CostCache, CostKey
from server.loading.invariance import depends_on_company
from server.loading.loaded import LoadedVersion
from server.loading.samples import Samples
from server.loading.threads import ThreadPlan, best_plan
from server.loading.variants import Opened, Opener, graphs_of
from server.manifest import GraphSpec, Manifest
from server.runtime.golden import GoldenRow, read_golden, replay
from server.runtime.precision import PrecisionError, measure_error
from server.runtime.processor import processor
from server.runtime.providers import Precision, choose_execution
from server.runtime.session import RUNTIME_VERSION
from server.settings import BatchingSettings, RuntimeSettings
from server.store.bundle import Bundle, open_bundle

log = logging.getLogger(__name__)

PLAN_SHARE = 0.25
"""Of the time for measuring: what finding out about threads may take."""
WORTH = 1.03
"""How many times faster a variant must be at some size to be kept beside the others."""


@dataclass(frozen=True)
class Loader:
    """Loads versions of one store; `load` blocks and may run in several threads at once."""

    store: Path
    max_bundle_bytes: int
    limits: CodecLimits
    batching: BatchingSettings
    runtime: RuntimeSettings
    cores: int

    def load(self, model: str, version: int) -> LoadedVersion:
        """Verifies the bundle, opens its graphs and codec, replays its golden rows and measures what runs cost.

        Raises ArtifactCorrupt, with the reason, where any of it fails; ModelNotReady where the settings ask for
        a precision that this host cannot compute in.
        """
        bundle = open_bundle(self.store, model, version, max_bytes=self.max_bundle_bytes)
        codec = build_codec(bundle.manifest.codec, bundle.directory, self.limits) if bundle.manifest.codec else None
        return _Loading(self, bundle).load(codec)


class _Loading:
    """One version on its way."""

    def __init__(self, loader: Loader, bundle: Bundle) -> None:
        self.loader, self.bundle, self.manifest = loader, bundle, bundle.manifest
        self.limits = batch_limits(bundle.manifest, loader.batching)
        self.together = loader.batching.enabled and self.manifest.batched and self.manifest.batching.invariant
        self.reason_alone = _reason_alone(self.manifest, loader.batching)
        self.cache = CostCache(loader.runtime.cache_dir)
        self.opener = Opener(bundle, self.limits, loader.cores, loader.runtime.provider)
        self.golden: Sequence[GoldenRow] = ()
        self.opened: list[Opened] = []
        self.errors: dict[str, PrecisionError] = {}

    def load(self, codec: Codec | None) -> LoadedVersion:
        try:
            if self.manifest.golden is not None:
                self.golden = read_golden(self.bundle.directory / self.manifest.golden)
            samples = Samples(self.manifest, self.golden)
            precision = self._default_precision()
            for wanted in dict.fromkeys([precision, *self._further_precisions()]):
                self._open_precision(wanted, samples)
            calibrated = self._calibrate(samples)
        except BaseException:
            self._close(self.opened)
            raise
        precision = self.opened[0].variant.precision  # which is not what was asked for where a provider fell back
        return LoadedVersion(
            bundle=self.bundle,
            codec=codec,
            variants=tuple(one.variant for one in self.opened),
            sessions=tuple(session for one in self.opened for session in one.sessions),
            precision=precision,
            errors=self.errors,
            together=self.together,
            reason_alone=self.reason_alone,
            calibrated=calibrated,
        )

    # --- precisions -----------------------------------------------------------------------------------------------

    def _default_precision(self) -> Precision:
        """What the setting asks for, or else the manifest; fp32, and a line in the log, where there is no graph for it.

        So too where only the manifest asks and this host does not compute in it; a setting is taken at its word.
        """
        asked = self.loader.runtime.precision
        precision = self.manifest.precision if asked == "manifest" else asked
        reason = "" if graphs_of(self.manifest, precision) else "the bundle has no graph for it"
        if not reason and asked == "manifest":
            reason = self._why_not(precision)
        if not reason:
            return precision
        if precision == "fp32" or not graphs_of(self.manifest, "fp32"):
            raise ArtifactCorrupt(f"the bundle has no {precision} graph in rows to run")
        log.warning(
            "not in the precision asked for; serving fp32", extra=self._named(precision=precision, reason=reason)
        )
        return "fp32"

    def _why_not(self, precision: Precision) -> str:
        """Why this host does not compute in a precision; empty where it does, and for fp32, which has no substitute."""
        try:
            if precision != "fp32":
                choose_execution(precision, self.loader.runtime.provider)
        except ModelNotReady as error:
            return error.message
        return ""

    def _further_precisions(self) -> list[Precision]:
        return [wanted for wanted in self.loader.runtime.request_precisions if graphs_of(self.manifest, wanted)]

    def _open_precision(self, precision: Precision, samples: Samples) -> None:
        rows, *packed = graphs_of(self.manifest, precision)
        threads = self.loader.runtime.intra_op_threads or 1
        plan = ThreadPlan(min(threads, self.loader.cores), 1)
        first = self.opener.open(rows, precision, plan)
        self.opened.append(first)
        self._replay(first, precision)
        if not self.together:
            return
        if (worst := self._company(first, first, samples)) is not None:
            self.together, self.reason_alone = False, worst
            log.warning("served alone", extra=self._named(reason=worst))
            return
        for graph in packed:
            self._open_packed(graph, precision, plan, first, samples)

    def _open_packed(
        self, graph: GraphSpec, precision: Precision, plan: ThreadPlan, rows: Opened, samples: Samples
    ) -> None:
        """A packed graph that this host does not run, or not alike, is left out: rows serve without it."""
        try:
            opened = self.opener.open(graph, precision, plan)
        except ServeError as error:
            log.warning("a packed graph is left out", extra=self._named(graph=graph.file, reason=error.message))
            return
        if (worst := self._company(opened, rows, samples)) is not None:
            log.warning("a packed graph is left out", extra=self._named(graph=graph.file, reason=worst))
            opened.close()
            return
        self.opened.append(opened)

    def _replay(self, opened: Opened, precision: Precision) -> None:
        """A host that answers fp32 differently from the one that verified the bundle must not get ready.

        Of other precisions the distance from the golden answers is measured, and told.
        """
        if self.manifest.golden is None or not self.loader.runtime.replay_golden:
            return
        if precision == "fp32":
            replay(self.bundle.directory / self.manifest.golden, opened.sessions[0], opened.spec.tolerance)
            return
        outputs = opened.variant.usual_outputs
        answers = [opened.sessions[0].run(row.inputs, outputs) for row in self.golden]
        error = measure_error(answers, [{name: row.outputs[name] for name in outputs} for row in self.golden])
        self.errors[precision] = error
        log.info(
            "precision",
            extra=self._named(
                precision=precision,
                provider=opened.variant.provider,
                max_error=error.max_error,
                min_cosine=error.min_cosine,
            ),
        )

    def _company(self, opened: Opened, rows: Opened, samples: Samples) -> str | None:
        """Why rows of this graph must not share a run; None where they may."""
        try:
            worst = depends_on_company(opened.variant, rows.variant, samples, self.limits, opened.spec.tolerance)
        except (ServeError, ValueError) as error:  # a graph may fail, or give other rows than it was asked for
            return f"made-up rows cannot be run together: {error}"
        if worst is None:
            return None
        return f"{opened.variant.name}: a row in company differs by {worst:.3g} from the same row alone"

    # --- costs ----------------------------------------------------------------------------------------------------

    def _calibrate(self, samples: Samples) -> bool:
        """Whether costs were measured, now or before; where that fails, requests run alone."""
        seconds = self.loader.runtime.calibration_s
        if not seconds:
            return False
        try:
            share = seconds * (1 - PLAN_SHARE) / len(self.opened)
            for one in self.opened:
                self._measure(one, samples, share)
            precision = self.opened[0].variant.precision
            self._choose_threads(samples, precision, seconds * PLAN_SHARE)
            if self.together:
                self._keep_what_pays(samples)
            for one in self.opened:
                warm_lattice(one.variant, samples, self.limits)
                warm_largest(one.variant, samples, self.limits, self.loader.cores)
        except (ServeError, ValueError) as error:
            self.together, self.reason_alone = False, "what runs cost cannot be measured"
            log.warning("costs cannot be measured; requests run alone", exc_info=error, extra=self._named())
            return False
        return True

    def _measure(self, one: Opened, samples: Samples, seconds: float) -> None:
        variant = one.variant
        key = CostKey(
            graph_sha256=self.bundle.sha256(one.spec.file) or _sha256(self.bundle.graph_path(one.spec)),
            layout=variant.layout.name,
            lattice=variant.layout.lattice.points,
            precision=variant.precision,
            provider=variant.provider,
            threads=variant.threads,
            cores=self.loader.cores,
            runtime=RUNTIME_VERSION,
            processor=processor(),
        )
        found = self.cache.read(key)
        if found is None:
            found = measure(variant, samples, self.limits, seconds)
            self.cache.write(key, found)
        variant.cost = Cost.measured(found)

    def _choose_threads(self, samples: Samples, precision: Precision, seconds: float) -> None:
        """Opens everything anew where another use of the cores is clearly faster."""
        cores = self.loader.cores
        first = next(one for one in self.opened if one.variant.precision == precision)
        if cores == 1 or self.loader.runtime.intra_op_threads or not first.variant.counts_cpu:
            return
        plans = [ThreadPlan(1, cores), ThreadPlan(cores, 1)]
        others: list[Opened] = []
        try:
            for plan in plans:
                opened = self.opener.open(first.spec, precision, plan)
                opened.variant.cost = first.variant.cost
                others.append(opened)
            ways = [(ThreadPlan(1, 1), first.variant)]
            ways += [(plan, one.variant) for plan, one in zip(plans, others, strict=True)]
            chosen = best_plan(ways, samples, self.limits, cores, seconds)
        finally:
            self._close(others)
        if chosen == ThreadPlan(1, 1):
            return
        log.info("threads", extra=self._named(plan=chosen.name))
        before = [one for one in self.opened if one.variant.counts_cpu]  # other providers keep threads of their own
        after: list[Opened] = []
        try:
            for one in before:
                after.append(self.opener.open(one.spec, one.variant.precision, chosen))
                self._measure(after[-1], samples, seconds)
        except BaseException:
            self._close(after)
            raise
        places = dict(zip(map(id, before), after, strict=True))
        self.opened = [places.get(id(one), one) for one in self.opened]
        self._close(before)

    def _keep_what_pays(self, samples: Samples) -> None:
        """Closes packed variants that nowhere beat the others: they would only take memory."""
        for precision in {one.variant.precision for one in self.opened}:
            rivals = [one for one in self.opened if one.variant.precision == precision]
            for one in list(reversed(rivals[1:])):
                others = [other.variant for other in rivals if other is not one]
                if not _wins_somewhere(one.variant, others, samples.longest, self.limits):
                    rivals.remove(one)
                    self.opened.remove(one)
                    one.close()

    def _named(self, **details: object) -> dict[str, object]:
        return {"model": self.bundle.model, "version": self.bundle.version, **details}

    @staticmethod
    def _close(opened: Sequence[Opened]) -> None:
        for one in opened:
            one.close()


def batch_limits(manifest: Manifest, settings: BatchingSettings) -> BatchLimits:
    """The stricter of the manifest's and the deployment's bounds."""
    return BatchLimits(
        max_rows=min(settings.max_batch_rows, manifest.batching.max_rows or settings.max_batch_rows),
        max_tokens=min(settings.max_batch_tokens, manifest.batching.max_tokens or settings.max_batch_tokens),
    )


def _reason_alone(manifest: Manifest, settings: BatchingSettings) -> str:
    if not settings.enabled:
        return "batching is off"
    if not manifest.batched:
        return "not every input and output has a row axis"
    return "" if manifest.batching.invariant else "verification saw answers that depend on the company"


def _wins_somewhere(variant: Variant, others: Sequence[Variant], longest: int, limits: BatchLimits) -> bool:
    """Whether a batch of some usual mix is clearly cheaper on this variant than on every other."""
    lengths = sorted({length for length in (8, 16, 32, 64, 128, 256) if length < longest} | {longest})
    for length in lengths:
        for rows in (1, 2, 4, 8, 16, 32, 64):
            tokens = rows * length
            if rows > 1 and (rows > limits.max_rows or tokens > limits.max_tokens):
                break
            # Rows of mixed lengths, the longest twice the mean: what waits is seldom all alike.
            for spread in (1.0, 2.0):
                top = min(longest, round(length * spread))
                mine = variant.seconds(rows, tokens, top)
                if mine * WORTH < min(other.seconds(rows, tokens, top) for other in others):
                    return True
    return False


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

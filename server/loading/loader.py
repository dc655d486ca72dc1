"""Loads one version off the serving path: verify, open, replay, measure; what comes out is ready for its first request.

bundle -> graphs of each precision -> golden rows -> alone = together? -> costs -> variants that are worth it
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from server.batching.variant import BatchLimits
from server.codecs import Codec, build_codec
from server.codecs.codec import CodecLimits
from server.errors import ArtifactCorrupt, ModelNotReady, ServeError
from server.loading.cost_cache import CostCache
from server.loading.costs import Costs
from server.loading.generation.loading import GenerationLoader
from server.loading.invariance import depends_on_company
from server.loading.loaded import Loaded, LoadedVersion
from server.loading.samples import Samples
from server.loading.threads import ThreadPlan
from server.loading.variants import Opened, Opener, graphs_of
from server.manifest import GraphSpec, Manifest, Precision
from server.runtime.golden import GoldenRow, read_golden, replay
from server.runtime.precision import PrecisionError, measure_error
from server.runtime.providers import choose_execution
from server.settings import BatchingSettings, GenerationSettings, RuntimeSettings
from server.store.bundle import Bundle, open_bundle

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Loader:
    """Loads versions of one store; `load` blocks and may run in several threads at once."""

    store: Path
    max_bundle_bytes: int
    limits: CodecLimits
    batching: BatchingSettings
    generation: GenerationSettings
    runtime: RuntimeSettings
    cores: int

    def load(self, model: str, version: int) -> Loaded:
        """Verifies the bundle, opens its graphs and codec, replays its golden rows and measures what runs cost.

        Raises ArtifactCorrupt, with the reason, where any of it fails; ModelNotReady where the settings ask for
        a precision that this host cannot compute in.
        """
        bundle = open_bundle(self.store, model, version, max_bytes=self.max_bundle_bytes)
        if bundle.manifest.generation is not None:
            return GenerationLoader(self.limits, self.batching, self.runtime, self.generation, self.cores).load(bundle)
        codec = build_codec(bundle.manifest.codec, bundle.directory, self.limits) if bundle.manifest.codec else None
        return _Loading(self, bundle).load(codec)


class _Loading:
    """One version on its way."""

    def __init__(self, loader: Loader, bundle: Bundle) -> None:
        self.loader, self.bundle, self.manifest = loader, bundle, bundle.manifest
        self.limits = batch_limits(bundle.manifest, loader.batching)
        self.together = loader.batching.enabled and self.manifest.batched and self.manifest.batching.invariant
        self.reason_alone = _reason_alone(self.manifest, loader.batching)
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
        """Those that requests may ask for, as far as bundle and host have them; the log names the others."""
        served: list[Precision] = []
        for wanted in self.loader.runtime.request_precisions:
            try:
                if not graphs_of(self.manifest, wanted):
                    raise ModelNotReady("the bundle has no graph in it")
                choose_execution(wanted, self.loader.runtime.provider)
            except ModelNotReady as error:
                log.warning("a precision is left out", extra=self._named(precision=wanted, reason=error.message))
            else:
                served.append(wanted)
        return served

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
        settings = self.loader.runtime
        if not settings.calibration_s:
            return False
        costs = Costs(
            bundle=self.bundle,
            opener=self.opener,
            limits=self.limits,
            samples=samples,
            cache=CostCache(settings.cache_dir),
            cores=self.loader.cores,
            seconds=settings.calibration_s,
            threads_fixed=bool(settings.intra_op_threads),
        )
        try:
            self.opened = costs.measured(self.opened, self.together)
        except (ServeError, ValueError) as error:
            self.together, self.reason_alone = False, "what runs cost cannot be measured"
            log.warning("costs cannot be measured; requests run alone", exc_info=error, extra=self._named())
            return False
        return True

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

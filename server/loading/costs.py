"""What runs of a version cost here: measured or read, threads chosen by it, and variants closed that nowhere pay."""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from server.batching.cost import Cost
from server.batching.variant import BatchLimits, Variant
from server.errors import ServeError
from server.loading.calibration import measure, warm_largest, warm_lattice
from server.loading.cost_cache import CostCache, CostKey
from server.loading.samples import Samples
from server.loading.threads import ONE_THREAD, ThreadPlan, best_plan
from server.loading.variants import Opened, Opener
from server.runtime.memory import available_bytes
from server.runtime.processor import processor
from server.runtime.session import RUNTIME_VERSION
from server.store.bundle import Bundle

log = logging.getLogger(__name__)

PLAN_SHARE = 0.25
"""Of the time for measuring: what finding out about threads may take."""
WORTH = 1.03
"""How many times faster a variant must be at some size to be kept beside the others."""
MEMORY_SHARE = 0.1
"""Of the memory that is available: what further sessions of one graph may take."""


@dataclass(frozen=True, slots=True)
class Costs:
    """Measures the variants of one bundle, for about `seconds` altogether."""

    bundle: Bundle
    opener: Opener
    limits: BatchLimits
    samples: Samples
    cache: CostCache
    cores: int
    seconds: float
    threads_fixed: bool
    """Whether the threads of a run are set, and not to be chosen."""

    def measured(self, opened: Sequence[Opened], together: bool) -> list[Opened]:
        """The variants to serve with, each with its cost, the first of them still the first; the others are closed.

        `together`: whether requests may share runs, so that packed variants can pay.
        Raises what a run raises, ValueError where what was measured makes no sense; `opened` are then as they were.
        """
        share = self.seconds * (1 - PLAN_SHARE) / len(opened)
        for one in opened:
            self._measure(one, share)
        served = self._with_best_threads(opened, share)
        if together:
            served = self._worth_keeping(served)
        for one in served:
            warm_lattice(one.variant, self.samples, self.limits)
            warm_largest(one.variant, self.samples, self.limits, self.cores)
        return served

    def _key(self, one: Opened) -> CostKey:
        variant = one.variant
        return CostKey(
            graph_sha256=self.bundle.sha256(one.spec.file) or _sha256(self.bundle.graph_path(one.spec)),
            layout=variant.layout.name,
            lattices=variant.layout.lattices,
            precision=variant.precision,
            provider=variant.provider,
            threads=variant.threads,
            cores=self.cores,
            runtime=RUNTIME_VERSION,
            processor=processor(),
        )

    def _measure(self, one: Opened, seconds: float) -> None:
        key = self._key(one)
        found = self.cache.read(key)
        if found is None:
            found = measure(one.variant, self.samples, self.limits, seconds)
            self.cache.write(key, found)
        one.variant.cost = Cost.measured(found)

    def _with_best_threads(self, opened: Sequence[Opened], seconds: float) -> list[Opened]:
        """The variants as they are, or opened anew where another use of the cores is clearly faster."""
        first = opened[0]
        if self.cores == 1 or self.threads_fixed or not first.variant.counts_cpu:
            return list(opened)
        key = self._key(first)
        plan = self.cache.read_plan(key)
        if plan is None:
            plan = self._best_plan(first)
            self.cache.write_plan(key, plan)
        if plan == ONE_THREAD:
            return list(opened)
        log.info("threads", extra={"model": self.bundle.model, "version": self.bundle.version, "plan": plan.name})
        served: list[Opened] = []
        try:
            for one in opened:
                # Other providers keep threads of their own.
                served.append(
                    self.opener.open(one.spec, one.variant.precision, plan) if one.variant.counts_cpu else one
                )
                if one.variant.counts_cpu:
                    self._measure(served[-1], seconds)
        except BaseException:
            for one in served:
                if one not in opened:
                    one.close()
            raise
        for one in opened:
            if one not in served:
                one.close()
        return served

    def _best_plan(self, first: Opened) -> ThreadPlan:
        """Measured on the variant that serves all requests; a way that cannot be opened is none."""
        plans = [ThreadPlan(self.cores, 1)]
        if self._fits(first, self.cores - 1):
            plans.append(ThreadPlan(1, self.cores))
        ways = [(ONE_THREAD, first.variant)]
        others: list[Opened] = []
        try:
            for plan in plans:
                try:
                    others.append(self.opener.open(first.spec, first.variant.precision, plan))
                except ServeError as error:
                    log.warning(
                        "a use of the cores cannot be tried", extra={"plan": plan.name, "reason": error.message}
                    )
                    continue
                others[-1].variant.cost = first.variant.cost
                ways.append((plan, others[-1].variant))
            return best_plan(ways, self.samples, self.limits, self.cores, self.seconds * PLAN_SHARE)
        finally:
            for one in others:
                one.close()

    def _fits(self, one: Opened, more: int) -> bool:
        """Whether so many more sessions of a graph leave memory for everything else."""
        available = available_bytes()
        folder = self.bundle.graph_path(one.spec).parent
        size = sum(path.stat().st_size for path in folder.iterdir() if path.name in (one.spec.file, "weights.bin"))
        return available is None or more * size <= MEMORY_SHARE * available

    def _worth_keeping(self, opened: Sequence[Opened]) -> list[Opened]:
        """Closes packed variants that nowhere beat the others: they would only take memory."""
        kept = list(opened)
        for one in reversed(opened):
            rivals = [other for other in kept if other.variant.precision == one.variant.precision]
            others = [other.variant for other in rivals if other is not one]
            if one is rivals[0] or wins_somewhere(one.variant, others, self.samples.longest, self.limits):
                continue
            kept.remove(one)
            one.close()
        return kept


def wins_somewhere(variant: Variant, others: Sequence[Variant], longest: int, limits: BatchLimits) -> bool:
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

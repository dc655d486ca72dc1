"""Which waiting requests run together, and on which variant: a pure function of what waits and of what runs cost.

The request whose turn it is always runs. For each variant that could answer it, others join as long as that is
predicted to be cheaper than running them by themselves; the batch with the highest gain is taken. Nobody waits for
company: where little waits, the cores share it.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, islice

from server.batching.cost import Work
from server.batching.queue import RequestQueue
from server.batching.request import Request
from server.batching.variant import BatchLimits, Variant

PATIENCE = 16
"""How many requests that do not fit are passed over while a batch is filled; bounds the cost of choosing."""
PREDICTION_MARGIN = 1.15
"""A predicted finish is taken to be later by this factor before it counts as within a deadline."""
WINDOW = 40
"""Of so many whose turn is next, those of like length may go before others. More of them spare no padding that could be
measured, and let some wait twice as long as others."""


@dataclass(slots=True, eq=False)
class Batch:
    """What is to run, on what, and what it is predicted to cost."""

    requests: list[Request]
    variant: Variant
    work: Work
    seconds: float

    @property
    def gain(self) -> float:
        """How many times cheaper than running each alone."""
        core_s = self.seconds * self.variant.threads
        return sum(request.alone_s for request in self.requests) / max(1e-12, core_s)

    def leave_out_the_dead(self) -> None:
        """Takes out requests whose callers have gone since, but for one where all have: a run needs a request."""
        living = [request for request in self.requests if not request.dead] or self.requests[:1]
        if len(living) < len(self.requests):
            self.requests = living
            self.measure()

    def measure(self) -> None:
        """Predicts anew, after requests have been taken out of it."""
        rows, tokens = sum(request.rows for request in self.requests), sum(request.tokens for request in self.requests)
        self.work = self.variant.layout.work(rows, tokens, max(request.length for request in self.requests))
        self.seconds = self.variant.cost.seconds(self.work)


def choose(
    queue: RequestQueue[Request],
    variants: Sequence[Variant],
    limits: BatchLimits,
    cores: int,
    now: float,
    max_age_s: float,
) -> Batch | None:
    """The next batch from `queue`, which stays as it is; None where nothing waits.

    Raises ValueError where no variant answers the request whose turn it is; admission must have refused that.
    """
    if not len(queue):
        return None
    head = queue.head(now, max_age_s)
    best: Batch | None = None
    for variant in variants:
        if variant.answers(head):
            batch = _fill(queue, head, variant, limits, cores, now)
            if best is None or batch.gain > best.gain:
                best = batch
    if best is None:
        raise ValueError("no variant answers the request")
    return best


def _fill(
    queue: RequestQueue[Request], head: Request, variant: Variant, limits: BatchLimits, cores: int, now: float
) -> Batch:
    """The batch around `head` on one variant; nobody joins who would make it too late for somebody in it."""
    layout, cost = variant.layout, variant.cost
    rows, tokens, longest = head.rows, head.tokens, head.length
    work = layout.work(rows, tokens, longest)
    seconds = cost.seconds(work)
    batch = [head]
    left_s = _left_s(head, now)
    if left_s < seconds:
        left_s = math.inf  # too late in any case
    if len(queue) > 1 and rows < limits.max_rows:
        wanted = _wanted_tokens(queue, head, variant, limits, cores)
        passed = 0
        for request in _candidates(queue, head, variant):
            if tokens >= wanted or rows >= limits.max_rows or passed > PATIENCE:
                break
            if request is head:
                continue
            left_then_s = min(left_s, _left_s(request, now))
            then = layout.work(rows + request.rows, tokens + request.tokens, max(longest, request.length))
            if (
                tokens + request.tokens > wanted
                or rows + request.rows > limits.max_rows
                or then.tokens > limits.max_tokens
                or (cost.seconds(then) - seconds) * variant.threads >= request.alone_s
                or cost.seconds(then) * PREDICTION_MARGIN > left_then_s
            ):
                passed += 1
                continue
            batch.append(request)
            rows, tokens, longest = rows + request.rows, tokens + request.tokens, max(longest, request.length)
            work, seconds, left_s = then, cost.seconds(then), left_then_s
    return Batch(batch, variant, work, seconds)


def _left_s(request: Request, now: float) -> float:
    return math.inf if request.deadline is None else request.deadline - now


def _candidates(queue: RequestQueue[Request], head: Request, variant: Variant) -> Iterable[Request]:
    """In the order of service; where length matters the nearest first of those whose turn is near, then the others.

    So nobody of an unusual length is passed over by all who come later, and choosing costs the same in a long queue.
    """
    company = queue.company(head)
    if not variant.layout.orders_by_length:
        return company
    near = sorted(islice(company, WINDOW), key=lambda request: abs(request.length - head.length))
    return chain(near, company)


def _wanted_tokens(
    queue: RequestQueue[Request], head: Request, variant: Variant, limits: BatchLimits, cores: int
) -> int:
    """How large the batch should become: what runs best, unless the cores would rather share what waits."""
    typical = head.length if variant.layout.orders_by_length else max(1, queue.tokens // max(1, queue.rows))
    enough, best = variant.appetite(typical, limits)
    return max(head.tokens, min(best, max(enough, queue.tokens // cores)))

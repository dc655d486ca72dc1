"""Which waiting requests run together: a pure function of what waits, so that it can be replaced alone.

Padding is computed like content, and on a CPU a batch saves little, so a request joins only where its length is
close to the oldest one's: the share of padding stays under a bound.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

from server.batching.request import Request

WINDOW = 512
"""How many waiting requests are looked at for one batch; bounds the cost of choosing."""


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """Bounds of one batch; a single request always runs, even if it alone is over `max_tokens`."""

    max_rows: int
    max_tokens: int
    max_padding_ratio: float


def choose(waiting: Iterable[Request], limits: BatchLimits) -> list[Request]:
    """Picks the next batch from `waiting` (in the order of service); empty only where nothing waits.

    The first request is always taken. Others of its group join nearest length first, as long as rows, padded
    tokens and the share of padding stay within `limits`; among equal lengths the older joins first.
    """
    candidates = list(islice(waiting, WINDOW))
    if not candidates:
        return []
    first, *others = candidates
    target = _length(first)
    joinable = [request for request in others if request.group == first.group]
    joinable.sort(key=lambda request: abs(_length(request) - target))
    batch, rows, tokens, longest = [first], first.rows, first.tokens, target
    for request in joinable:
        if rows >= limits.max_rows:
            break
        longest_then = max(longest, _length(request))
        padded = (rows + request.rows) * longest_then
        content = tokens + request.tokens
        if (
            rows + request.rows > limits.max_rows
            or padded > limits.max_tokens
            or padded - content > limits.max_padding_ratio * padded
        ):
            continue
        batch.append(request)
        rows, tokens, longest = rows + request.rows, content, longest_then
    return batch


def _length(request: Request) -> int:
    return max(request.lengths.values(), default=1)

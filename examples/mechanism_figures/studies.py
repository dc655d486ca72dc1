"""Which reader shows which mechanism of the catalogue, and how well it has to read before its weights are drawn."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from examples.mechanism_figures.columns import Causal, ColumnReader
from examples.mechanism_figures.places import PlaceReader
from examples.mechanism_figures.pointing import CopyingReader, PointingReader
from examples.mechanism_figures.reader import PLACES, WIDTH, Projected, Reader
from examples.mechanism_figures.scans import SIDE
from examples.mechanism_figures.steps import BlockReader, LocationAwareReader, RecurrentReader
from examples.mechanism_figures.whole import MapReader, PooledReader, RowReader
from models.attention import LocationAwareAttention
from models.attention.catalogue import Catalogued, Scale

SCALE = Scale(d_model=WIDTH, num_heads=2, d_ff=2 * WIDTH, max_len=SIDE * PLACES, block=SIDE // 2, window=5)
"""How large the mechanisms are built. A block is half a digit, so that the other half lies beyond it."""
BLOCK_QUESTIONS = SCALE.block
"""As many questions as fill a block of their own, which can then reach the columns only through summaries."""
MANY_HEADS = replace(SCALE, num_heads=4)


@dataclass(frozen=True, kw_only=True)
class Study:
    """How one mechanism is shown.

    build: the reader of an entry of the catalogue, untrained, drawn from torch's global generator.
    required: the least share of held-out answers that must be right; guessing digits gives 0.1.
    steps: for how long it trains.
    """

    build: Callable[[Catalogued], Reader]
    required: float = 0.85
    steps: int = 600


def _shown_by(reader: Callable[[Any], Reader]) -> Callable[[Catalogued], Reader]:
    """Hands an entry's mechanism to the reader made for its kind."""
    return lambda entry: reader(entry.build(SCALE))


def among_columns(
    entry: Catalogued,
    *,
    scale: Scale = SCALE,
    positioned: bool = True,
    last_only: bool = False,
    masked: bool = False,
    questions: int = 0,
) -> Reader:
    """The columns attend to one another.

    A mechanism that takes query, key and value as they are gets projections of the columns; those with heads bring
    their own. `masked` shows no column what comes later. The rest is as in `ColumnReader`.
    """
    attention = entry.build(scale)
    if "query" in entry.dynamic and not hasattr(attention, "project_query"):
        attention = Projected(attention)
    return ColumnReader(
        Causal(attention) if masked else attention,
        partial(entry.over_keys, scale=scale),
        positioned=positioned,
        last_only=last_only,
        questions=questions,
    )


_PLACES = Study(build=_shown_by(PlaceReader), required=0.9)
_COLUMNS = Study(build=among_columns)
_CAUSAL = Study(build=partial(among_columns, last_only=True))
_UNPOSITIONED = Study(build=partial(among_columns, positioned=False))
_STEPS = Study(build=_shown_by(RecurrentReader))
_ROWS = Study(build=_shown_by(RowReader), required=0.9)
_WRITTEN = Study(build=_shown_by(BlockReader))

# Location-aware attention has its default filters: the catalogue's, five columns long, do not reach the next digit.
STUDIES: Mapping[str, Study] = {
    "additive": _PLACES,
    "dot": _PLACES,
    "bilinear": _PLACES,
    "scaled-dot-product": _PLACES,
    "concat": _PLACES,
    "location": _PLACES,
    "location-aware": Study(build=lambda entry: LocationAwareReader(LocationAwareAttention(WIDTH, WIDTH, WIDTH))),
    "multi-head": _PLACES,
    "per-head-linear": _COLUMNS,
    "multi-query": _PLACES,
    "grouped-query": _PLACES,
    "sinusoidal-positions": _UNPOSITIONED,
    "learned-positions": replace(_UNPOSITIONED, steps=1500),
    "rotary": _UNPOSITIONED,
    "relative-bias": _UNPOSITIONED,
    "alibi": Study(build=partial(among_columns, scale=MANY_HEADS, positioned=False, last_only=True, masked=True)),
    "block": Study(build=partial(among_columns, questions=BLOCK_QUESTIONS), steps=1000),
    "sliding-window": _COLUMNS,
    "global-window": Study(build=partial(among_columns, questions=2)),
    "block-sparse": _COLUMNS,
    "causal-block-sparse": _CAUSAL,
    "linear": Study(build=_shown_by(lambda mechanism: PlaceReader(Projected(mechanism)))),
    "causal-linear": _CAUSAL,
    "recurrent-pooling-tanh": _ROWS,
    "recurrent-pooling-lstm": _ROWS,
    "recurrent-pooling-gru": _ROWS,
    "recurrent-decoder-tanh": _STEPS,
    "recurrent-decoder-lstm": _STEPS,
    "recurrent-decoder-gru": _STEPS,
    "recurrent-decoder-step": _STEPS,
    "encoder-block-post-norm": _COLUMNS,
    "encoder-block-pre-norm": _COLUMNS,
    "decoder-block-post-norm": _WRITTEN,
    "decoder-block-pre-norm": _WRITTEN,
    "pooling": Study(build=_shown_by(PooledReader), steps=1200),
    "object-queries": _PLACES,
    "pointer": Study(build=_shown_by(partial(PointingReader, num_digits=6)), steps=1200),
    "copy": Study(build=_shown_by(CopyingReader), steps=1000),
    "spatial": Study(build=_shown_by(MapReader), steps=800),
}

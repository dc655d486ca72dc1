"""The suite `engine`: ours with batching on against off, and ours against its own bare parts; about two minutes."""

from collections.abc import Sequence

from benchmarks.load.schedule import Closed, Phase
from benchmarks.peers.catalogue import ECHO, OURS, SCHEDULER, Arm
from benchmarks.suites.cell import Cell, Headline, Suite

ON, OFF = "on", "off"
MINILM, TINY, MAPS = "minilm-shape", "tiny-shape", "minilm-shape-maps"
NEVER_BELOW = 0.95
"""No cell's whole interval may lie below this: batching would then cost there what nobody asked for."""


def on_over_off(shape: str, precision: str, mix: str, in_flight: int) -> Cell:
    """Ours with batching over ours without."""
    a, b = Arm(OURS, ON, shape, precision), Arm(OURS, OFF, shape, precision)
    return Cell(f"on-over-off/{shape}/{precision}/{mix}/{in_flight}", a, b, Closed(in_flight), mix)


ON_OVER_OFF = (
    on_over_off(MINILM, "fp32", "mixed", 1),
    on_over_off(MINILM, "fp32", "mixed", 32),
    on_over_off(MINILM, "fp32", "short", 32),
    on_over_off(MINILM, "fp32", "long", 8),
    on_over_off(TINY, "fp32", "mixed", 32),
    on_over_off(TINY, "fp32", "sixteen", 128),
    on_over_off(MINILM, "bf16", "mixed", 32),
    on_over_off(MINILM, "bf16", "long", 8),
    on_over_off(TINY, "bf16", "short", 128),
    on_over_off(MINILM, "int8", "mixed", 4),
    on_over_off(MINILM, "int8", "short", 128),
    on_over_off(TINY, "int8", "long", 32),
)
"""Length mix x size of the model x precision x concurrency: each value of each beside several of the others."""

BARE = Cell(
    "noop-over-bare-grpc", Arm(OURS, ON, "noop"), Arm(ECHO, "bare", "noop"), Closed(32), figure="requests_per_s"
)
EXPLAIN = Cell("explain-one-percent", Arm(OURS, ON, MAPS, asking=True), Arm(OURS, ON, MAPS), Closed(32))
WITHOUT_GRPC = Cell(
    "scheduler/tiny-shape/sixteen/128",
    Arm(SCHEDULER, "scheduler-on", TINY),
    Arm(SCHEDULER, "scheduler-off", TINY),
    Closed(128),
    "sixteen",
)
PARTS = (EXPLAIN, WITHOUT_GRPC, BARE)


def never_slower(cells: Sequence[Cell]) -> Headline:
    """Ours with batching over ours without, over all of these cells and in each of them."""
    return Headline(
        "batching_never_slower",
        f"ours over ours with batching off, geometric mean of {len(cells)} cells; no cell's whole interval below "
        f"{NEVER_BELOW:g}",
        tuple(cell.id for cell in cells),
        at_least=1.0,
        aim=1.1,
        rule="geometric_mean",
        floor=NEVER_BELOW,
    )


PART_HEADLINES = (
    Headline(
        "explain_one_percent",
        "attention asked by 1% of requests over none asking",
        (EXPLAIN.id,),
        at_least=0.95,
        aim=0.99,
    ),
    Headline(
        "scheduler_tiny_on_over_off",
        "`tiny-shape`, 16 tokens, 128 in flight, the scheduler without gRPC: batching on over off",
        (WITHOUT_GRPC.id,),
        at_least=3.0,
        aim=5.0,
    ),
    Headline(
        "noop_over_bare_grpc",
        "ModelInfer of a model that does nothing over a bare grpc.aio echo of the same bytes",
        (BARE.id,),
        at_least=0.60,
        aim=0.75,
        figure="requests_per_s",
    ),
)

# Without the OpenVINO build, and one call at a time, which takes long to say little.
_IN_TWO_MINUTES = tuple(cell for cell in ON_OVER_OFF if cell.a.precision == "fp32" and cell.load != Closed(1))

ENGINE = Suite(
    name="engine",
    cells=(*_IN_TWO_MINUTES, *PARTS),
    headlines=(never_slower(_IN_TWO_MINUTES), *PART_HEADLINES),
    phase=Phase(warm_up_s=0.2, measured_s=0.6),
    pairs=6,
    quick_phase=Phase(warm_up_s=0.1, measured_s=0.3),
    quick_pairs=2,
)

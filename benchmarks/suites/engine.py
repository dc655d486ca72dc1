"""The suite `engine`: ours with batching on against off, and ours against its own bare parts; about two minutes."""

from benchmarks.load.schedule import Closed, Phase
from benchmarks.peers.catalogue import ECHO, OURS, SCHEDULER, Arm
from benchmarks.suites.cell import Cell, Headline, Suite

ON, OFF = "on", "off"
MINILM, TINY, MAPS = "minilm-shape", "tiny-shape", "minilm-shape-maps"


def on_over_off(shape: str, mix: str, in_flight: int) -> Cell:
    """Ours with batching over ours without."""
    a, b = Arm(OURS, ON, shape), Arm(OURS, OFF, shape)
    return Cell(f"on-over-off/{shape}/{mix}/{in_flight}", a, b, Closed(in_flight), mix)


ON_OVER_OFF = (
    on_over_off(MINILM, "mixed", 32),
    on_over_off(MINILM, "short", 32),
    on_over_off(MINILM, "long", 8),
    on_over_off(TINY, "mixed", 32),
    on_over_off(TINY, "sixteen", 128),
)
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
OWN_CELLS = (*ON_OVER_OFF, BARE, EXPLAIN, WITHOUT_GRPC)

OWN_HEADLINES = (
    Headline(
        "batching_never_slower",
        "ours over ours with batching off, geometric mean of the cells",
        tuple(cell.id for cell in ON_OVER_OFF),
        at_least=1.0,
        aim=1.1,
        rule="geometric_mean",
    ),
    Headline(
        "noop_over_bare_grpc",
        "a model that does nothing over a bare grpc.aio echo of the same bytes",
        (BARE.id,),
        at_least=0.60,
        aim=0.75,
        figure="requests_per_s",
    ),
    Headline(
        "explain_one_percent",
        "attention asked by one request in a hundred over by none",
        (EXPLAIN.id,),
        at_least=0.95,
        aim=0.99,
    ),
    Headline(
        "scheduler_tiny_on_over_off",
        "the scheduler without gRPC, batching on over off",
        (WITHOUT_GRPC.id,),
        at_least=3.0,
        aim=5.0,
    ),
)

ENGINE = Suite(
    name="engine",
    cells=OWN_CELLS,
    headlines=OWN_HEADLINES,
    phase=Phase(warm_up_s=0.2, measured_s=0.8),
    pairs=6,
    quick_phase=Phase(warm_up_s=0.1, measured_s=0.3),
    quick_pairs=2,
)

"""The suite `peers`: ours against every peer on the same graphs and request list, and what `engine` measures too."""

from dataclasses import replace

from benchmarks.load.schedule import Closed, Phase
from benchmarks.peers.catalogue import IN_PROCESS, OURS, PEERS, Arm
from benchmarks.suites.cell import BestOf, Cell, Headline, ShareOfCapacity, Suite
from benchmarks.suites.engine import ON_OVER_OFF, PART_HEADLINES, PARTS, never_slower

IN_FLIGHT = (32, 128)
P99_LOAD = 0.70
"""Of the best peer's capacity."""
DEADLINE_S = 1.0

PHASE = Phase(warm_up_s=1.0, measured_s=2.0)
SATURATED = Phase(warm_up_s=0.8, measured_s=2.4)
"""With 128 in flight a call takes up to a second: a tail needs more of them."""
TAIL = Phase(warm_up_s=1.0, measured_s=8.0)
OVERLOADED = Phase(warm_up_s=2.0, measured_s=6.0)
"""At twice capacity the queue is full only after a while."""
OWN = Phase(warm_up_s=0.4, measured_s=1.0)

OURS_ON = Arm(OURS, "on")
OURS_BF16 = replace(OURS_ON, precision="bf16")


def _phase(in_flight: int) -> Phase | None:
    return SATURATED if in_flight == max(IN_FLIGHT) else None


def over_peer(peer: str, setting: str, in_flight: int, precision: str = "fp32") -> Cell:
    """Ours over a peer on the same graph in the same precision, mixed lengths."""
    return Cell(
        f"{precision}/{peer}/{setting}/{in_flight}",
        Arm(OURS, "on", precision=precision),
        Arm(peer, setting, precision=precision),
        Closed(in_flight),
        phase=_phase(in_flight),
    )


PLAIN = {(peer, n): over_peer(peer, "plain", n) for peer in PEERS for n in IN_FLIGHT}
BATCHING = {peer: over_peer(peer, "batching", 32) for peer in PEERS}
FP32 = tuple(cell for peer in PEERS for cell in (*(PLAIN[peer, n] for n in IN_FLIGHT), BATCHING[peer]))
_plain = tuple(cell.id for cell in PLAIN.values())
_fp32_at = {n: tuple(cell.id for cell in FP32 if cell.load == Closed(n)) for n in IN_FLIGHT}

BF16_OVER_FP32 = tuple(
    Cell(f"bf16-over-fp32/best/{n}", OURS_BF16, BestOf(_fp32_at[n]), Closed(n), phase=_phase(n)) for n in IN_FLIGHT
)


def same_graph(precision: str) -> tuple[Cell, ...]:
    """Ours over each peer in a precision, and again over the best of them with more in flight."""
    cells = tuple(over_peer(peer, "plain", 32, precision) for peer in PEERS)
    best = BestOf(tuple(cell.id for cell in cells))
    return (*cells, replace(cells[0], id=f"{precision}/best/plain/128", b=best, load=Closed(128), phase=_phase(128)))


BF16, INT8 = same_graph("bf16"), same_graph("int8")


def over_plan(plan: str, precision: str = "fp32") -> Cell:
    """Ours over a plan without any server, in the same precision on the same provider."""
    a, b = Arm(OURS, "on", precision=precision), Arm(IN_PROCESS, plan, precision=precision)
    return Cell(f"ceiling/{precision}/{plan}", a, b, Closed(128))


FP32_CEILING = tuple(over_plan(plan) for plan in ("batch-1", "padded-16", "block-diagonal-256", "gathered-256"))
BF16_CEILING = (over_plan("block-diagonal-256", "bf16"),)
INT8_CEILING = (over_plan("batch-1", "int8"),)

_best = BestOf(_fp32_at[32])
_rate = ShareOfCapacity(P99_LOAD, _plain, "b")
P99 = Cell("p99/open-loop/fp32", OURS_ON, _best, _rate, figure="p99_ms", phase=TAIL)
P99_BF16 = Cell("p99/open-loop/bf16", OURS_BF16, _best, _rate, figure="p99_ms", phase=TAIL)
OVERLOAD = Cell(
    "overload",
    OURS_ON,
    OURS_ON,
    ShareOfCapacity(2.0, _plain, "a"),
    load_of_b=ShareOfCapacity(1.0, _plain, "a"),
    figure="in_time_per_s",
    deadline_s=DEADLINE_S,
    phase=OVERLOADED,
)

_NEVER_SLOWER = tuple(replace(cell, phase=OWN) for cell in ON_OVER_OFF)

HEADLINES = (
    Headline(
        "fp32_over_best_peer",
        "mixed lengths, closed loop 32 and 128 (the lower), fp32: ours over the best peer at its best setting",
        tuple(cell.id for cell in FP32),
        at_least=1.10,
        aim=1.25,
    ),
    Headline(
        "bf16_over_best_peer",
        "the same, ours in bf16 (every cosine to fp32 at least 0.9999) over the best peer in fp32",
        tuple(cell.id for cell in BF16_OVER_FP32),
        at_least=1.5,
        aim=1.8,
    ),
    Headline(
        "bf16_over_same_session",
        "ours over the best peer running the same OpenVINO bf16 session",
        tuple(cell.id for cell in BF16),
        at_least=1.3,
        aim=1.6,
    ),
    Headline(
        "int8_over_same_graph_best_peer",
        "ours over the best peer with the same int8 graph",
        tuple(cell.id for cell in INT8),
        at_least=1.05,
        aim=1.2,
    ),
    Headline(
        "over_peer_batching",
        "ours in fp32 over the best of the peers' dynamic batching",
        tuple(cell.id for cell in BATCHING.values()),
        at_least=2.4,
        aim=2.9,
    ),
    Headline(
        "over_ceiling",
        "ours over the best plan without a server, same list, provider and precision (the lowest over precisions)",
        tuple(cell.id for cell in (*FP32_CEILING, *BF16_CEILING, *INT8_CEILING)),
        at_least=0.88,
        aim=0.95,
    ),
    never_slower(_NEVER_SLOWER),
    Headline(
        "p99_fp32_best_peer_over_ours",
        "p99 at the same Poisson rate, 70% of the best peer's capacity: the best peer over ours",
        (P99.id,),
        at_least=1.0,
        aim=1.2,
        figure="p99_ms",
        b_over_a=True,
    ),
    Headline(
        "p99_bf16_best_peer_over_ours",
        "the same, ours in bf16",
        (P99_BF16.id,),
        at_least=1.3,
        aim=1.7,
        figure="p99_ms",
        b_over_a=True,
    ),
    Headline(
        "p99_saturated_best_peer_over_ours",
        "p99 in closed loop 128: the best peer over ours",
        tuple(PLAIN[peer, 128].id for peer in PEERS),
        at_least=1.0,
        aim=1.3,
        figure="p99_ms",
        b_over_a=True,
    ),
    Headline(
        "overload_goodput",
        "answers within the deadline at twice capacity over those at capacity",
        (OVERLOAD.id,),
        at_least=0.95,
        aim=1.0,
        figure="in_time_per_s",
    ),
    *PART_HEADLINES,
)

PEER_SUITE = Suite(
    name="peers",
    cells=(
        *FP32,
        *FP32_CEILING,
        OVERLOAD,
        P99,
        P99_BF16,
        *BF16_OVER_FP32,
        *BF16,
        *BF16_CEILING,
        *INT8,
        *INT8_CEILING,
        *_NEVER_SLOWER,
        *PARTS,
    ),
    headlines=HEADLINES,
    phase=PHASE,
    pairs=6,
    quick_phase=Phase(warm_up_s=0.2, measured_s=0.5),
    quick_pairs=2,
)

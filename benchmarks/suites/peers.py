"""The suite `peers`: ours against every peer on the same graph and request list, and what `engine` measures too."""

from benchmarks.load.schedule import Closed, Phase
from benchmarks.peers.catalogue import IN_PROCESS, OURS, PEERS, Arm
from benchmarks.peers.in_process import PLANS
from benchmarks.suites.cell import BestOf, Cell, Headline, ShareOfCapacity, Suite
from benchmarks.suites.engine import OWN_CELLS, OWN_HEADLINES

IN_FLIGHT = (32, 128)
P99_LOAD = 0.70
"""Of the best peer's capacity."""
DEADLINE_S = 1.0
OURS_ON = Arm(OURS, "on")


def over_peer(peer: str, setting: str, in_flight: int) -> Cell:
    """Ours over a peer, mixed lengths."""
    return Cell(f"fp32/{peer}/{setting}/{in_flight}", OURS_ON, Arm(peer, setting), Closed(in_flight))


PLAIN = {(peer, n): over_peer(peer, "plain", n) for peer in PEERS for n in IN_FLIGHT}
BATCHING = {peer: over_peer(peer, "batching", 32) for peer in PEERS}
CEILING = tuple(Cell(f"ceiling/{plan}", OURS_ON, Arm(IN_PROCESS, plan), Closed(128)) for plan in PLANS)

_plain_at_32 = tuple(PLAIN[peer, 32].id for peer in PEERS)
_capacity_of_best = ShareOfCapacity(P99_LOAD, _plain_at_32, "b")
P99 = Cell("p99/open-loop", OURS_ON, BestOf(_plain_at_32), _capacity_of_best, figure="p99_ms", measured_s=8.0)
OVERLOAD = Cell(
    "overload",
    OURS_ON,
    OURS_ON,
    ShareOfCapacity(2.0, _plain_at_32, "a"),
    load_of_b=ShareOfCapacity(1.0, _plain_at_32, "a"),
    figure="in_time_per_s",
    deadline_s=DEADLINE_S,
    measured_s=6.0,
)

HEADLINES = (
    Headline(
        "fp32_over_best_peer",
        "mixed lengths, closed loop 32 and 128 (the lower), fp32: ours over the best peer",
        tuple(cell.id for cell in (*PLAIN.values(), *BATCHING.values())),
        at_least=1.10,
        aim=1.25,
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
        "ours over the best of the plans without a server",
        tuple(cell.id for cell in CEILING),
        at_least=0.88,
        aim=0.95,
    ),
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
    *OWN_HEADLINES,
)

PEER_SUITE = Suite(
    name="peers",
    cells=(
        *(cell for peer in PEERS for cell in (*(PLAIN[peer, n] for n in IN_FLIGHT), BATCHING[peer])),
        *CEILING,
        P99,
        OVERLOAD,
        *OWN_CELLS,
    ),
    headlines=HEADLINES,
    # With 128 in flight a call takes about a second: only then is the queue as long as it stays.
    phase=Phase(warm_up_s=1.0, measured_s=3.0),
    pairs=6,
    quick_phase=Phase(warm_up_s=0.2, measured_s=0.5),
    quick_pairs=2,
)

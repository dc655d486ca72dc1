"""The suite `generation`: text written by ours, joining and leaving at each step, over what does not; 20 minutes."""

from benchmarks.load.schedule import Closed, Phase
from benchmarks.peers.catalogue import OURS, Arm
from benchmarks.peers.ctranslate2.adapter import VERSION
from benchmarks.peers.writers import CTRANSLATE2, FULL_SLOTS
from benchmarks.peers.writing_requests import NEW_TOKENS
from benchmarks.shapes.dates import DATES
from benchmarks.shapes.marian import MARIAN
from benchmarks.suites.cell import Cell, Headline, ShareOfCapacity, Suite

IN_FLIGHT = 32
RECURRENT_IN_FLIGHT = 64
FIRST_TOKEN_LOAD = 0.70
"""Of the capacity of static batching."""
MIX = "8 to 48 tokens in, 8 to 64 out"
DATES_MIX = "dates, 10 characters out"

PHASE = Phase(warm_up_s=1.2, measured_s=4.5, cool_down_s=1.0)
TAIL = Phase(warm_up_s=2.0, measured_s=16.0)
"""Some hundred and fifty arrivals: the tail of a run is its two slowest."""
SHORT = Phase(warm_up_s=0.5, measured_s=2.0, cool_down_s=0.2)
"""A date is written within milliseconds."""


def ours(precision: str = "fp32", setting: str = "on", *, streamed: bool = False) -> Arm:
    """Our server on the Marian-shaped model."""
    return Arm(OURS, setting, MARIAN, precision, streamed=streamed)


def over_ctranslate2(precision: str, plan: str) -> Cell:
    """Ours through gRPC over CTranslate2 in process, in the same precision."""
    other = Arm(CTRANSLATE2, plan, MARIAN, precision)
    return Cell(f"over-ctranslate2/{precision}/{plan}", ours(precision), other, Closed(IN_FLIGHT), MIX)


OVER_CTRANSLATE2 = {
    precision: tuple(over_ctranslate2(precision, plan) for plan in ("2x16", "1x32")) for precision in ("fp32", "int8")
}
OVER_FULL_SLOTS = tuple(
    Cell(f"over-full-slots/fp32/{plan}", ours(), Arm(FULL_SLOTS, plan, MARIAN), Closed(IN_FLIGHT), MIX)
    for plan in ("1x32", "2x16")
)
ALONE = Cell("alone/fp32", ours(), Arm(CTRANSLATE2, "alone", MARIAN), Closed(1), MIX)
OVER_STATIC = Cell("over-static/fp32", ours(), ours(setting="static"), Closed(IN_FLIGHT), MIX)
FIRST_TOKEN = Cell(
    "first-token/fp32",
    ours(streamed=True),
    ours(setting="static", streamed=True),
    ShareOfCapacity(FIRST_TOKEN_LOAD, (OVER_STATIC.id,), "b", tokens_each=sum(NEW_TOKENS) / 2),
    MIX,
    figure="first_p99_ms",
    phase=TAIL,
)
RECURRENT = Cell(
    "recurrent/64-over-1",
    Arm(OURS, "on", DATES),
    Arm(OURS, "on", DATES),
    Closed(RECURRENT_IN_FLIGHT),
    DATES_MIX,
    load_of_b=Closed(1),
    phase=SHORT,
)


def _ids(*cells: Cell) -> tuple[str, ...]:
    return tuple(cell.id for cell in cells)


HEADLINES = (
    Headline(
        "gen_over_ct2_fp32",
        "output tokens/s, fp32: ours through gRPC, 32 in flight, over CTranslate2 in process at the better of one "
        "worker with 32 rows and two with 16",
        _ids(*OVER_CTRANSLATE2["fp32"]),
        at_least=1.5,
        aim=1.9,
    ),
    Headline(
        "gen_over_ct2_int8",
        "the same, both in int8",
        _ids(*OVER_CTRANSLATE2["int8"]),
        at_least=0.8,
        aim=1.0,
    ),
    Headline(
        "gen_over_static",
        "ours over ours with nothing joining before the batch is empty",
        _ids(OVER_STATIC),
        at_least=1.5,
        aim=1.75,
    ),
    Headline(
        "gen_over_full_slots",
        "ours over the same graphs in process with every slot busy, encoder and prefill included, at the better of one "
        "lane with 32 slots and two with 16",
        _ids(*OVER_FULL_SLOTS),
        at_least=0.85,
        aim=0.92,
    ),
    Headline(
        "ttft_p99_static_over_ours",
        "p99 time to the first token, Poisson arrivals at 70% of static batching's capacity: static over ours",
        _ids(FIRST_TOKEN),
        at_least=3.0,
        aim=6.0,
        figure="first_p99_ms",
        b_over_a=True,
    ),
    Headline(
        "gen_alone_over_ct2",
        "one at a time, fp32: ours through gRPC over CTranslate2 in process with both cores",
        _ids(ALONE),
        at_least=1.0,
        aim=1.15,
    ),
    Headline(
        "rnn_64_over_1",
        "a recurrent decoder with attention, ours through gRPC: 64 in flight over one at a time",
        _ids(RECURRENT),
        at_least=8.0,
        aim=16.0,
    ),
)

GENERATION = Suite(
    name="generation",
    cells=(
        *OVER_CTRANSLATE2["fp32"],
        *OVER_FULL_SLOTS,
        ALONE,
        OVER_STATIC,
        FIRST_TOKEN,
        *OVER_CTRANSLATE2["int8"],
        RECURRENT,
    ),
    headlines=HEADLINES,
    phase=PHASE,
    pairs=6,
    quick_phase=Phase(warm_up_s=0.5, measured_s=1.0, cool_down_s=0.3),
    quick_pairs=2,
    requests=96,
    peers={CTRANSLATE2: VERSION},
)

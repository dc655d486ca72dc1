"""Whatever comes, the scheduler loses nothing, answers nobody twice and never takes more cores than there are.

`Machine.run` checks that: every call has ended once, with its own answer or an error; the cores in use at any time;
nothing left in queues or in the budget.
"""

from functools import partial
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from server.batching.cost import Coefficients
from tests.support.simulation import ANSWERED, BREAKS, KILLS, Machine

HOUR = 3600.0
FATES = {ANSWERED, "INFERENCE_FAILED", "CANCELLED", "DEADLINE_EXPIRED", "DEADLINE_UNREACHABLE", "QUEUE_FULL"}

seconds = st.floats(0.0, 0.2)
models = st.builds(
    dict,
    truth=st.builds(Coefficients, st.floats(1e-4, 1e-2), st.floats(0, 1e-3), st.floats(1e-6, 1e-3), st.floats(0, 1e-6)),
    believed=st.builds(
        Coefficients, st.floats(1e-4, 1e-2), st.floats(0, 1e-3), st.floats(1e-6, 1e-3), st.floats(0, 1e-6)
    ),
    layouts=st.sampled_from([("rows",), ("rows", "block-diagonal"), ("rows", "block-diagonal", "gathered")]),
    threads=st.sampled_from([(1,), (2,), (1, 2), (3, 1)]),
    max_rows=st.sampled_from([1, 4, 64]),
    max_tokens=st.sampled_from([16, 256, 4096]),
    capacity=st.sampled_from([3, 1000]),
)
requests = st.fixed_dictionaries(
    {
        "at": seconds,
        "model": st.integers(0, 2),
        "length": st.integers(1, 64),
        "rows": st.integers(1, 3),
        "within": st.none() | st.floats(1e-4, 0.3),
        "gives_up_after": st.none() | st.none() | st.floats(0.0, 0.1),
        "priority": st.integers(-4, 4),
        "outputs": st.sampled_from([("sum",), ("sum", "moment"), ("echo", "sum")]),
        "first": st.sampled_from([None] * 20 + [BREAKS, KILLS]),
    }
)
jumps = st.lists(st.tuples(seconds, st.sampled_from([1e-3, 1.0, HOUR])), max_size=2)


def world(cores, inline_s, noise, lanes, asked, jumped, seed):
    """A machine with these models, on which all of that has happened."""
    with Machine(cores, seed=seed, noise=noise, max_age_s=0.05, inline_s=inline_s) as machine:
        made = [machine.lane(f"m{number}", **model) for number, model in enumerate(lanes)]
        for request in asked:
            lane = made[request["model"] % len(made)]
            more = {name: value for name, value in request.items() if name not in ("at", "model")}
            machine.at(request["at"], partial(machine.ask, lane, **more))
        for at, far in jumped:
            machine.at(at, machine.jump, far)
        machine.loop.run_forever()
        deaths = machine.errors[:]  # a run that kills the event loop's thread is raised there, and answered
        machine.errors.clear()
        assert all(type(context["exception"]).__name__ == "ThreadDeath" for context in deaths)
        machine.run()
    return machine


@settings(max_examples=100)
@given(
    cores=st.integers(3, 4),
    inline_s=st.sampled_from([0.0, 2e-3]),
    noise=st.sampled_from([0.0, 0.5]),
    lanes=st.lists(models, min_size=1, max_size=3),
    asked=st.lists(requests, min_size=10, max_size=100),
    jumped=jumps,
    seed=st.integers(0, 9),
)
def test_every_request_ends_exactly_once_within_the_cores_there_are(cores, inline_s, noise, lanes, asked, jumped, seed):
    machine = world(cores, inline_s, noise, lanes, asked, jumped, seed)
    assert set(machine.fates()) <= FATES
    assert len(machine.calls) == len(asked)
    for call in machine.calls:
        assert call.fate in ("INFERENCE_FAILED", "CANCELLED", *sorted(allowed(call)))


def allowed(call):
    """The fates that a request may have by itself; failing and being cancelled may come from its neighbours."""
    fates = {ANSWERED, "QUEUE_FULL"}
    if call.request.deadline is not None:
        fates |= {"DEADLINE_EXPIRED", "DEADLINE_UNREACHABLE"}
    return fates


@settings(max_examples=25)
@given(
    asked=st.lists(requests, min_size=10, max_size=60),
    lanes=st.lists(models, min_size=1, max_size=3),
    seed=st.integers(0, 9),
)
def test_who_asks_for_nothing_special_is_answered_whatever_the_others_do(asked, lanes, seed):
    """Without a deadline, room in the queue, and no thread that dies: an answer, and an answer in finite time."""
    lanes = [{**model, "capacity": 1000} for model in lanes]
    asked = [{**request, "first": BREAKS if request["first"] == KILLS else request["first"]} for request in asked]
    machine = world(3, 0.0, 0.3, lanes, asked, [], seed)
    for call in machine.calls:
        if call.request.deadline is None and call.fate != "CANCELLED":
            assert call.fate == ("INFERENCE_FAILED" if call.request.inputs["ids"][0, 0] == BREAKS else ANSWERED)


def ordered(machine):
    """Calls by the time they were made."""
    return sorted(machine.calls, key=lambda call: call.asked_at)


@settings(max_examples=25)
@given(
    jumped=st.lists(st.tuples(seconds, st.just(HOUR)), min_size=1, max_size=3),
    lanes=st.lists(models, min_size=2, max_size=3),
    seed=st.integers(0, 9),
)
def test_a_clock_that_jumps_loses_nothing_and_starves_nobody(jumped, lanes, seed):
    """Between any two events; each lane is given its share before the others have had much more."""
    lanes = [{**model, "believed": model["truth"], "capacity": 1000, "threads": (1,)} for model in lanes]
    with Machine(2, seed=seed, max_age_s=0.05) as machine:
        made = [machine.lane(f"m{number}", **model) for number, model in enumerate(lanes)]
        for at, far in jumped:
            machine.at(at, machine.jump, far)
        for lane in made:
            for number in range(20):
                machine.at(number * 0.01, machine.ask, lane, 8)
        machine.run()
    assert machine.fates() == {ANSWERED: 20 * len(made)}


@settings(max_examples=25)
@given(
    lengths=st.lists(st.sampled_from([8, 16, 32]), min_size=2, max_size=60),
    layout=st.sampled_from(["rows", "block-diagonal", "gathered"]),
    cores=st.integers(1, 3),
    seed=st.integers(0, 9),
)
def test_equals_begin_in_the_order_they_came(lengths, layout, cores, seed):
    """Of one length and priority; runs that were begun later may end earlier, but that is not the queue's doing."""
    with Machine(cores, seed=seed, noise=0.3) as machine:
        lane = machine.lane(layouts=(layout,), max_rows=8)
        for number, length in enumerate(lengths):
            machine.at(number * 1e-3, machine.ask, lane, length)
        machine.run()
    for length in set(lengths):
        same = [call for call in ordered(machine) if call.request.length == length]
        begun = [call.asked_at + call.answer.timing.queue_s for call in same]
        assert all(earlier <= later + 1e-9 for earlier, later in pairwise(begun))

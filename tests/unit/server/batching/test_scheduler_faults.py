"""What goes wrong around a run: callers who go, batches that fail, threads that die, clocks that jump."""

import logging
from functools import partial

import pytest

from server.batching.cost import Coefficients
from server.errors import DeadlineExpired, InferenceFailed, RequestCancelled
from tests.support.simulation import ANSWERED, BREAKS, KILLS, TYPICAL, Machine

SECOND_A_RUN = Coefficients(fixed_s=1.0, row_s=0.0, token_s=1e-3, pair_s=0.0)
FAILED, GONE = InferenceFailed.reason, RequestCancelled.reason
HOUR = 3600.0


@pytest.fixture
def machine():
    with Machine(cores=1, max_age_s=100.0) as made:
        yield made


def ask_together(machine, lane, *firsts, **more):
    """One call for each first id, all in one turn of the event loop."""
    calls = []
    machine.at(0.0, lambda: calls.extend(machine.ask(lane, 1, first=first, **more) for first in firsts))
    return calls


# --- cancelling -------------------------------------------------------------------------------------------------------


def test_a_run_that_nobody_shares_ends_when_its_caller_goes(machine):
    lane = machine.lane(truth=SECOND_A_RUN)
    ask_together(machine, lane, 1, gives_up_after=0.25)
    machine.run()
    (call,) = machine.calls
    assert (call.fate, machine.cut) == (GONE, 1)
    assert machine.clock.now() == 0.25
    assert [record.failed for record in machine.batches] == [True]


def test_a_run_that_nobody_shares_ends_when_its_deadline_passes(machine):
    """Runs that take longer than predicted are not gone on with for nobody."""
    lane = machine.lane(truth=SECOND_A_RUN, believed=TYPICAL)
    ask_together(machine, lane, 1, within=0.5)
    machine.run()
    (call,) = machine.calls
    assert (call.fate, machine.cut) == (DeadlineExpired.reason, 1)


def test_a_run_that_others_share_goes_on_when_one_caller_goes(machine):
    lane = machine.lane(truth=SECOND_A_RUN)
    machine.at(0.0, lambda: (machine.ask(lane, gives_up_after=0.25), machine.ask(lane)))
    machine.run()
    leaving, staying = machine.calls
    assert [record.requests for record in machine.batches] == [2]
    assert (leaving.fate, staying.fate, machine.cut) == (GONE, ANSWERED, 0)


def test_a_run_that_was_stopped_teaches_nothing_about_costs(machine):
    lane = machine.lane(truth=SECOND_A_RUN)
    ask_together(machine, lane, 1, gives_up_after=0.25)
    machine.run()
    assert lane.variants[0].cost.observed_runs == 0


def test_the_core_of_a_stopped_run_takes_the_next(machine):
    lane = machine.lane(truth=SECOND_A_RUN, max_rows=1)
    ask_together(machine, lane, 1, gives_up_after=0.25)
    machine.at(0.1, machine.ask, lane)
    machine.run()
    assert machine.calls[1].answer.timing.queue_s == pytest.approx(0.15)


# --- failing ----------------------------------------------------------------------------------------------------------


def test_only_the_guilty_request_of_a_batch_fails(machine, caplog):
    lane = machine.lane(truth=SECOND_A_RUN)
    calls = ask_together(machine, lane, 7, BREAKS, 8)
    machine.run()
    assert [call.fate for call in calls] == [ANSWERED, FAILED, ANSWERED]
    assert machine.ran == [("m", (7, BREAKS, 8)), ("m", (7,)), ("m", (BREAKS,)), ("m", (8,))]
    assert [record.failed for record in machine.batches] == [True]
    assert "broke" not in calls[1].request.reply.exception().message
    assert any("broke" in str(record.exc_info) for record in caplog.records if record.levelno == logging.ERROR)


def test_several_guilty_requests_of_a_batch_each_fail(machine):
    lane = machine.lane()
    calls = ask_together(machine, lane, BREAKS, 1, BREAKS, 2)
    machine.run()
    assert [call.fate for call in calls] == [FAILED, ANSWERED, FAILED, ANSWERED]


def test_who_has_gone_meanwhile_is_not_run_again(machine):
    lane = machine.lane(truth=SECOND_A_RUN)
    calls = ask_together(machine, lane, BREAKS, 7, 8)

    def leave():
        calls[1].request.reply.cancel()
        machine.jump(0.0)  # makes the run again, now that one has gone

    machine.at(0.5, leave)
    machine.run()
    assert [call.fate for call in calls] == [FAILED, GONE, ANSWERED]
    assert machine.clock.now() == pytest.approx(1.003 + 2 * 1.001)


def test_a_lane_whose_batches_fail_pays_for_running_them_one_by_one():
    """Otherwise it would take most of the cores for the price of a few."""
    answered = {}
    for flooded in (False, True):
        with Machine(cores=1) as machine:
            lane, poison = machine.lane("other"), machine.lane("poison")
            machine.closed_loop(32, 2.0, lambda then, lane=lane, on=machine: on.ask(lane, 32, then=then))
            if flooded:
                fail = lambda then, lane=poison, on=machine: on.ask(lane, 32, first=BREAKS, then=then)  # noqa: E731
                machine.closed_loop(32, 2.0, fail)
            machine.run()
        answered[flooded] = machine.fates()[ANSWERED]
    assert answered[True] >= 0.33 * answered[False]


def test_a_batch_that_cannot_be_built_fails_and_the_next_runs(machine):
    lane = machine.lane()

    def ask_badly():
        bad = machine.ask(lane, first=1)
        bad.request.inputs = {}

    machine.at(0.0, ask_badly)
    machine.at(0.1, machine.ask, lane)
    machine.run()
    assert [call.fate for call in machine.calls] == [FAILED, ANSWERED]


def test_a_run_that_fails_on_the_event_loop_is_answered_and_the_next_runs():
    with Machine(cores=1, inline_s=10.0) as machine:
        lane = machine.lane()
        machine.at(0.0, lambda: (machine.ask(lane, 1, first=BREAKS), machine.ask(lane)))
        machine.run()
    assert [call.fate for call in machine.calls] == [FAILED, ANSWERED]
    assert machine.handed_over == 0


# --- dying ------------------------------------------------------------------------------------------------------------


def test_the_batch_of_a_thread_that_dies_is_answered_and_the_next_runs(machine):
    lane = machine.lane(truth=SECOND_A_RUN)
    doomed = ask_together(machine, lane, 1, KILLS)
    machine.at(0.5, machine.ask, lane)
    machine.run()
    assert [call.fate for call in doomed] == [FAILED, FAILED]
    assert machine.calls[-1].fate == ANSWERED


@pytest.mark.parametrize("behind", [False, True], ids=["at once", "behind a run"])
def test_what_ends_a_thread_on_the_event_loop_leaves_nobody_without_an_answer(behind):
    with Machine(cores=1, inline_s=0.1) as machine:
        long, doomed, other = machine.lane("long", SECOND_A_RUN), machine.lane("doomed"), machine.lane("other")
        if behind:
            machine.at(0.0, machine.ask, long)
        machine.at(0.1, partial(machine.ask, doomed, 1, first=KILLS))
        machine.at(0.2, machine.ask, other)
        machine.loop.run_forever()
        assert len(machine.errors) == 1  # raised, as it would be anywhere else
        machine.errors.clear()
        machine.run()
    assert machine.fates() == {FAILED: 1, ANSWERED: 2 if behind else 1}


# --- clocks that jump -------------------------------------------------------------------------------------------------


def test_a_run_that_a_jump_falls_into_changes_little_of_what_is_believed(machine):
    lane = machine.lane(truth=TYPICAL)
    machine.closed_loop(8, 1.0, lambda then: machine.ask(lane, 32, then=then))
    machine.run()
    (variant,) = lane.variants
    before = variant.cost.seconds(variant.layout.work(8, 8 * 32, 32)), lane.run_s, lane.efficiency
    machine.at(2.0, machine.ask, lane, 32)
    machine.at(2.001, machine.jump, HOUR)
    machine.run()
    after = variant.cost.seconds(variant.layout.work(8, 8 * 32, 32)), lane.run_s, lane.efficiency
    assert after[0] == pytest.approx(before[0], rel=0.07)
    assert after[1] <= 2 * before[1]
    assert after[2] <= before[2] + 1


def test_requests_with_deadlines_are_not_refused_for_long_after_a_jump():
    with Machine(cores=1) as machine:
        lane = machine.lane(truth=TYPICAL)
        machine.closed_loop(8, 0.5, lambda then: machine.ask(lane, 32, then=then))
        machine.at(0.4991, machine.jump, HOUR)
        machine.run()
        begin = machine.clock.now()
        machine.at(begin, lambda: machine.poisson(100.0, begin + 2.0, lambda: machine.ask(lane, 32, within=0.2)))
        machine.run()
        later = [call for call in machine.calls if call.request.deadline is not None]
    assert sum(call.fate == ANSWERED for call in later) >= 0.99 * len(later)

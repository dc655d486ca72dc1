"""The real scheduler on a simulated machine, under more than it can do and under unfair callers."""

import pytest

from server.batching.cost import Coefficients
from tests.support.simulation import ANSWERED, TYPICAL, Machine

LAYOUTS = ("rows", "block-diagonal", "gathered")
REFUSED, EXPIRED = "DEADLINE_UNREACHABLE", "DEADLINE_EXPIRED"
WITHIN = 0.25
"""Seconds that callers give an answer: some ten runs."""


def length(machine):
    """Log-normal, median 24, at most 256."""
    return int(min(256, max(1, machine.random.lognormvariate(3.18, 1.0))))


def waits(calls):
    return [call.waited_s for call in calls if call.fate == ANSWERED]


# --- overload ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def capacity():
    """Answers a second where as many callers wait as can be answered within the time they give."""
    with Machine(noise=0.1) as machine:
        lane = machine.lane(layouts=LAYOUTS)
        rate = machine.capacity(lane, lambda: length(machine), 2.0, callers=128)
    assert max(waits(machine.calls)) < WITHIN
    return rate


@pytest.fixture(scope="module")
def overloaded(capacity):
    """Three seconds of requests at twice the capacity."""
    with Machine(noise=0.1) as machine:
        lane = machine.lane(layouts=LAYOUTS)
        machine.poisson(2 * capacity, 3.0, lambda: machine.ask(lane, length(machine), within=WITHIN))
        machine.run()
    return machine


def test_at_twice_capacity_as_much_is_answered_in_time_as_at_capacity(capacity, overloaded):
    in_time = sum(call.fate == ANSWERED and call.ended_at <= 3.0 for call in overloaded.calls)
    assert in_time >= 0.95 * capacity * 3.0
    assert max(waits(overloaded.calls)) <= WITHIN


def test_what_is_refused_for_its_deadline_is_refused_at_once(overloaded):
    refused = [call for call in overloaded.calls if call.fate == REFUSED]
    at_once = sum(call.waited_s == 0.0 for call in refused)
    assert at_once >= 0.95 * len(refused)


def test_hardly_any_accepted_request_expires_where_predictions_are_right(overloaded):
    accepted = [call for call in overloaded.calls if call.fate == ANSWERED or call.waited_s > 0.0]
    late = sum(call.fate != ANSWERED for call in accepted)
    assert late <= 0.06 * len(accepted)


def test_a_refusal_says_when_to_come_again(overloaded):
    errors = [call.request.reply.exception() for call in overloaded.calls if call.fate == REFUSED]
    hints = [float(error.metadata["retry_after_s"]) for error in errors if error.metadata]
    assert len(hints) >= 0.95 * len(errors)
    assert all(0.0 <= hint < 1.0 for hint in hints)


def test_below_capacity_nobody_is_refused(capacity):
    with Machine(noise=0.1) as machine:
        lane = machine.lane(layouts=LAYOUTS)
        machine.poisson(0.8 * capacity, 2.0, lambda: machine.ask(lane, length(machine), within=WITHIN))
        machine.run()
    assert machine.fates()[ANSWERED] == len(machine.calls)


def test_without_deadlines_a_full_queue_bounds_the_wait(capacity):
    with Machine(noise=0.1) as machine:
        lane = machine.lane(layouts=LAYOUTS, capacity=100)
        machine.poisson(2 * capacity, 2.0, lambda: machine.ask(lane, length(machine)))
        machine.run()
    fates = machine.fates()
    assert set(fates) == {ANSWERED, "QUEUE_FULL"}
    assert fates[ANSWERED] >= 0.95 * capacity * 2.0
    assert max(waits(machine.calls)) <= 3 * (100 + 2 * 64) / capacity


def test_a_deadline_that_a_run_alone_would_miss_is_refused_at_once():
    with Machine() as machine:
        lane = machine.lane(truth=Coefficients(1.0, 0.0, 0.0, 0.0))
        machine.at(0.0, lambda: (machine.ask(lane, within=0.9), machine.ask(lane, within=2.0)))
        machine.run()
    assert [(call.fate, call.waited_s) for call in machine.calls] == [(REFUSED, 0.0), (ANSWERED, 1.0)]


# --- fairness between lanes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flood", [TYPICAL, Coefficients(1e-3, 0.0, 1e-5, 0.0), Coefficients(2e-2, 0.0, 4e-4, 0.0)])
def test_a_flood_of_one_model_keeps_the_other_waiting_for_a_few_runs_only(flood):
    """Whether its runs are as long as the other's, shorter, or much longer."""
    with Machine(noise=0.1) as machine:
        flooded, quiet = machine.lane("flooded", flood, layouts=LAYOUTS), machine.lane("quiet")
        machine.closed_loop(300, 3.0, lambda then: machine.ask(flooded, length(machine), then=then))
        machine.poisson(20.0, 3.0, lambda: machine.ask(quiet, 24))
        machine.run()
    trickle = [call for call in machine.calls if call.model == "quiet"]
    longest_run = max(record.cost_s for record in machine.batches)
    assert len(trickle) > 30
    assert max(waits(trickle)) <= 3 * longest_run + 0.03


def test_lanes_that_both_flood_share_the_core_seconds():
    with Machine(noise=0.1) as machine:
        short, long = machine.lane("short"), machine.lane("long", Coefficients(1e-2, 0.0, 4e-4, 0.0))
        for lane, size in ((short, 8), (long, 128)):
            machine.closed_loop(64, 3.0, lambda then, lane=lane, size=size: machine.ask(lane, size, then=then))
        machine.at(3.0, machine.loop.stop)
        machine.loop.run_forever()
        spent = {"short": 0.0, "long": 0.0}
        for record in machine.batches:
            spent[record.model] += record.cost_s
        machine.run()
    assert spent["short"] == pytest.approx(spent["long"], rel=0.2)


def test_a_lane_that_needs_all_cores_gets_them_beside_one_that_needs_one():
    with Machine(cores=4, noise=0.1) as machine:
        wide, narrow = machine.lane("wide", threads=(4,)), machine.lane("narrow")
        for lane in (wide, narrow):
            machine.closed_loop(64, 2.0, lambda then, lane=lane: machine.ask(lane, 32, then=then))
        machine.at(2.0, machine.loop.stop)
        machine.loop.run_forever()
        spent = {"wide": 0.0, "narrow": 0.0}
        for record in machine.batches:
            spent[record.model] += record.cost_s * (4 if record.model == "wide" else 1)
        machine.run()
    assert spent["wide"] == pytest.approx(spent["narrow"], rel=0.25)


def test_a_lane_that_slept_does_not_make_up_for_it_at_the_others_cost():
    with Machine(cores=1) as machine:
        busy, sleeper = machine.lane("busy"), machine.lane("sleeper")
        machine.closed_loop(64, 4.0, lambda then: machine.ask(busy, 32, then=then))
        wake = lambda: machine.closed_loop(64, 4.0, lambda then: machine.ask(sleeper, 32, then=then))  # noqa: E731
        machine.at(3.0, wake)
        machine.run()
    after = [call for call in machine.calls if call.model == "busy" and 3.0 <= call.asked_at <= 3.9]
    before = [call for call in machine.calls if call.model == "busy" and 1.0 <= call.asked_at <= 1.9]
    assert len(after) >= 0.4 * len(before)


# --- fairness within a lane -------------------------------------------------------------------------------------------


def test_a_flood_of_high_priority_does_not_keep_the_others_beyond_the_age_bound():
    with Machine(cores=1, max_age_s=0.5, noise=0.1) as machine:
        lane = machine.lane(max_rows=8)
        machine.closed_loop(40, 3.0, lambda then: machine.ask(lane, 32, priority=4, then=then))
        machine.poisson(10.0, 3.0, lambda: machine.ask(lane, 32, priority=-4))
        machine.run()
    low = [call for call in machine.calls if call.request.priority == -4]
    longest_run = max(record.cost_s for record in machine.batches)
    assert len(low) > 15
    assert max(waits(low)) <= 0.5 + 3 * longest_run


def test_requests_that_fit_no_batch_are_not_passed_over_beyond_the_age_bound():
    """Long ones among many short ones, and ones that ask for other outputs."""
    with Machine(cores=1, max_age_s=0.3, noise=0.1) as machine:
        lane = machine.lane()
        machine.closed_loop(48, 2.0, lambda then: machine.ask(lane, 16, priority=1, then=then))
        machine.poisson(5.0, 2.0, lambda: machine.ask(lane, 256))
        machine.poisson(5.0, 2.0, lambda: machine.ask(lane, 16, outputs=("moment", "sum")))
        machine.run()
    rare = [call for call in machine.calls if call.request.priority == 0]
    longest_run = max(record.cost_s for record in machine.batches)
    assert len(rare) > 8
    assert max(waits(rare)) <= 0.3 + 4 * longest_run


def test_among_equals_who_comes_first_runs_first():
    with Machine(cores=1) as machine:
        lane = machine.lane(max_rows=4)
        machine.poisson(2000.0, 0.5, lambda: machine.ask(lane, 16))
        machine.run()
    begun = [first for _, rows in machine.ran for first in rows]
    assert begun == sorted(begun)


# --- batching ---------------------------------------------------------------------------------------------------------


def test_batching_does_more_than_running_alone_where_runs_have_a_fixed_cost():
    rates = {}
    for max_rows in (1, 64):
        with Machine(noise=0.1) as machine:
            lane = machine.lane(layouts=LAYOUTS, max_rows=max_rows)
            rates[max_rows] = machine.capacity(lane, lambda on=machine: length(on), 1.0)
    assert rates[64] >= 1.3 * rates[1]


def test_where_company_never_pays_everybody_runs_alone():
    with Machine() as machine:
        lane = machine.lane(truth=Coefficients(0.0, 1e-3, 1e-4, 1e-7))
        machine.closed_loop(32, 0.5, lambda then: machine.ask(lane, length(machine), then=then))
        machine.run()
    assert {record.requests for record in machine.batches} == {1}


def test_costs_believed_wrongly_are_put_right_while_serving():
    """A run that takes three times what was believed is believed to, after some hundred runs."""
    truth = Coefficients(3e-3, 0.0, 1.2e-4, 0.0)
    with Machine(noise=0.1) as machine:
        lane = machine.lane(truth=truth, believed=Coefficients(1e-3, 0.0, 4e-5, 0.0))
        machine.closed_loop(16, 6.0, lambda then: machine.ask(lane, 32, then=then))
        machine.run()
    last = machine.batches[-200:-20]
    assert len(machine.batches) > 500
    assert sum(record.predicted_s for record in last) == pytest.approx(sum(r.cost_s for r in last), rel=0.1)

import numpy as np
import pytest

from server.batching.cost import Coefficients
from server.errors import ModelNotReady, QueueFull, RequestCancelled
from server.runtime.budget import CoreBudget
from tests.support.simulation import ANSWERED, Machine

SECOND_A_RUN = Coefficients(fixed_s=1.0, row_s=0.0, token_s=1e-3, pair_s=0.0)


@pytest.fixture
def machine():
    with Machine(cores=1, max_age_s=100.0) as made:
        yield made


def ask_at_once(machine, lane, count, **more):
    """So many calls in one turn of the event loop."""
    calls = []
    machine.at(0.0, lambda: calls.extend(machine.ask(lane, **more) for _ in range(count)))
    return calls


def test_requests_that_come_in_one_turn_run_together_and_each_gets_its_own(machine):
    lane = machine.lane(truth=SECOND_A_RUN)
    calls = ask_at_once(machine, lane, 4, length=5, outputs=("echo", "sum"))
    machine.run()
    for call in calls:
        assert np.array_equal(call.answer.outputs["echo"], call.request.inputs["ids"])
    assert [record.requests for record in machine.batches] == [4]
    assert calls[0].answer.timing.batch_rows == 4


def test_requests_that_wait_for_a_core_run_together(machine):
    lane = machine.lane(truth=SECOND_A_RUN)
    first = ask_at_once(machine, lane, 1)
    machine.at(0.5, lambda: [machine.ask(lane) for _ in range(3)])
    machine.run()
    assert [record.requests for record in machine.batches] == [1, 3]
    assert first[0].waited_s == pytest.approx(1.016)


def test_the_reply_tells_queue_time_compute_time_and_the_batch(machine):
    lane = machine.lane(truth=SECOND_A_RUN)
    ask_at_once(machine, lane, 1, length=10)
    machine.at(0.25, machine.ask, lane, 20)
    machine.run()
    timing = machine.calls[1].answer.timing
    assert timing.queue_s == pytest.approx(1.01 - 0.25)
    assert timing.compute_s == pytest.approx(1.02)
    assert (timing.batch_rows, timing.batch_tokens) == (1, 20)


def test_the_observer_is_told_what_ran_and_what_was_predicted(machine):
    lane = machine.lane(truth=SECOND_A_RUN)
    machine.at(0.0, lambda: [machine.ask(lane, 10), machine.ask(lane, 20)])
    machine.run()
    (record,) = machine.batches
    assert (record.requests, record.rows, record.tokens, record.padded_tokens) == (2, 2, 30, 40)
    assert record.padding_ratio == 0.25
    assert record.variant == "rows/fp32"
    assert record.predicted_s == record.cost_s == pytest.approx(1.04)


def test_never_more_runs_at_once_than_cores():
    with Machine(cores=2) as machine:
        lane = machine.lane(max_rows=1)
        ask_at_once(machine, lane, 50)
        machine.run()
    assert machine.most_cores == 2
    assert sum(record.requests for record in machine.batches) == 50


def test_a_run_shorter_than_handing_it_over_is_made_on_the_event_loop():
    with Machine(cores=1, inline_s=0.5) as machine:
        short, long = machine.lane("short"), machine.lane("long", SECOND_A_RUN)
        machine.at(0.0, lambda: (machine.ask(short), machine.ask(long)))
        machine.run()
    assert machine.fates() == {ANSWERED: 2}
    assert (machine.most_cores, machine.handed_over) == (1, 1)


def test_short_runs_with_others_behind_them_are_handed_over_so_that_the_loop_fills_the_next_batch():
    with Machine(cores=1, inline_s=0.5) as machine:
        long, short = machine.lane("long", SECOND_A_RUN), machine.lane("short", max_rows=1)
        ask_at_once(machine, long, 1)
        machine.at(0.5, lambda: [machine.ask(short) for _ in range(2)])
        machine.run()
    assert machine.handed_over == 2  # the long one, and the first of the short


def test_runs_on_the_event_loop_let_callers_in_between():
    """Twenty models' runs of 2 ms wait for one of a second: who comes meanwhile is not after all of them."""
    with Machine(cores=1, inline_s=0.5) as machine:
        lanes = [machine.lane(f"m{number}") for number in range(20)]
        ask_at_once(machine, machine.lane("long", SECOND_A_RUN), 1)
        machine.at(0.5, lambda: [machine.ask(lane) for lane in lanes])
        machine.at(1.017, machine.ask, lanes[0])
        machine.run()
    assert machine.handed_over == 1
    assert 1.017 <= machine.calls[-1].asked_at < 1.027


def test_what_costs_next_to_nothing_does_not_pass_what_waits():
    with Machine(cores=2, inline_s=0.5, max_age_s=100.0) as machine:
        wide, short = machine.lane("wide", SECOND_A_RUN, threads=(2,)), machine.lane("short")
        one = machine.lane("one", SECOND_A_RUN)
        ask_at_once(machine, one, 1)
        machine.at(0.1, machine.ask, wide)  # one core is free, and waits for the other
        machine.at(0.2, machine.ask, short)
        machine.run()
    assert [name for name, _ in machine.ran] == ["one", "wide", "short"]


def test_full_queue_refuses_at_once_and_tells_the_observer(machine):
    lane = machine.lane(truth=SECOND_A_RUN, capacity=1)
    ask_at_once(machine, lane, 1)
    machine.at(0.5, lambda: [machine.ask(lane) for _ in range(2)])
    machine.run()
    assert [call.fate for call in machine.calls] == [ANSWERED, ANSWERED, QueueFull.reason]
    assert machine.calls[2].waited_s == 0.0
    assert machine.dropped == {"QUEUE_FULL": 1}


def test_a_full_queue_of_expired_requests_makes_room(machine):
    """Their own timers may come later than the request that needs the room."""
    lane = machine.lane(truth=SECOND_A_RUN, capacity=1)
    ask_at_once(machine, lane, 1)

    def expire_and_ask():
        late = machine.ask(lane, within=2.5)
        machine.clock.advance(3.0)
        machine.ask(lane)
        assert late.request.reply.done()

    machine.at(0.5, expire_and_ask)
    machine.run()
    assert machine.fates() == {ANSWERED: 2, "DEADLINE_EXPIRED": 1}
    assert machine.dropped == {"DEADLINE_EXPIRED": 1}


def test_a_withdrawn_request_never_runs_and_its_neighbours_do(machine):
    lane = machine.lane(truth=SECOND_A_RUN, max_rows=1)
    machine.at(0.0, lambda: [machine.ask(lane, first=first) for first in (1, 3)])
    machine.at(0.0, lambda: machine.ask(lane, first=2, gives_up_after=0.5))
    machine.run()
    assert machine.ran == [("m", (1,)), ("m", (3,))]
    assert machine.fates() == {ANSWERED: 2, "CANCELLED": 1}
    assert machine.dropped == {"CANCELLED": 1}


def test_a_request_whose_caller_goes_is_counted_once_even_if_the_scheduler_finds_it_dead_first(machine):
    lane = machine.lane(truth=SECOND_A_RUN, max_rows=1)
    machine.at(0.0, lambda: [machine.ask(lane), machine.ask(lane)])

    def go():
        leaving = machine.calls[1].request
        leaving.reply.cancel()  # as the cancellation of the task that awaits it does, before that task runs again
        machine.at(1.5, machine.scheduler.withdraw, lane, leaving, RequestCancelled("gone"))

    machine.at(0.5, go)
    machine.run()
    assert len(machine.ran) == 1
    assert machine.dropped == {"CANCELLED": 1}


def test_a_batch_out_of_which_some_have_gone_is_what_remains_of_it(machine):
    """What it is predicted to cost, and what its cost teaches, is without those that do not run."""
    lane = machine.lane(truth=SECOND_A_RUN)
    ask_at_once(machine, lane, 1)
    machine.at(0.5, lambda: [machine.ask(lane, 100, first=first) for first in (1, 2, 3)])
    machine.at(0.6, lambda: [call.request.reply.cancel() for call in machine.calls[2:]])
    machine.run()
    record = machine.batches[1]
    assert (record.requests, record.padded_tokens) == (1, 100)
    assert record.predicted_s == record.cost_s == pytest.approx(1.1)


def test_the_latest_request_of_the_highest_priority_goes_first(machine):
    lane = machine.lane(truth=SECOND_A_RUN, max_rows=1)
    ask_at_once(machine, lane, 1)
    machine.at(0.1, lambda: [machine.ask(lane, first=first, priority=priority) for first, priority in ((1, 0), (2, 4))])
    machine.run()
    assert [first for _, (first,) in machine.ran[1:]] == [2, 1]


def remove(machine, lane):
    """Removes the lane from now on; the list gets the machine's time when that is done."""
    done = []
    task = machine.loop.create_task(machine.scheduler.remove(lane))
    task.add_done_callback(lambda _: done.append(machine.clock.now()))
    return done


def test_a_lane_is_removed_once_all_is_answered(machine):
    lane = machine.lane(truth=SECOND_A_RUN, max_rows=1)
    calls = ask_at_once(machine, lane, 3)
    removed = []
    machine.at(0.5, lambda: removed.append(remove(machine, lane)))
    machine.run()
    assert removed[0] == [max(call.ended_at for call in calls)]
    late = []
    machine.at(10.0, lambda: late.append(machine.ask(lane)))
    machine.run()
    assert late[0].fate == ModelNotReady.reason


def test_an_idle_lane_is_removed_at_once(machine):
    removed = remove(machine, machine.lane())
    machine.run()
    assert removed == [0.0]


def test_a_lane_whose_last_waiting_request_is_withdrawn_can_be_removed(machine):
    blocking, lane = machine.lane("blocking", SECOND_A_RUN), machine.lane()
    ask_at_once(machine, blocking, 1)
    machine.at(0.1, lambda: machine.ask(lane, gives_up_after=0.2))
    removed = []
    machine.at(0.2, lambda: removed.append(remove(machine, lane)))
    machine.run()
    assert removed[0] == [pytest.approx(0.3)]


def test_a_request_that_comes_between_the_last_answer_and_the_removal_is_answered(machine):
    """The handler of a straggler may run in the very turn of the loop in which the lane came to rest."""
    lane = machine.lane(truth=SECOND_A_RUN)
    machine.at(0.0, lambda: machine.ask(lane, then=lambda _: machine.ask(lane)))
    removed = []
    machine.at(0.5, lambda: removed.append(remove(machine, lane)))
    machine.run()
    assert machine.fates() == {ANSWERED: 2}
    assert removed[0] == [machine.calls[1].ended_at]


def test_where_nothing_waits_the_predicted_wait_is_none(machine):
    assert machine.scheduler.wait_s(machine.lane()) == 0.0


def test_the_predicted_wait_counts_what_runs_what_waits_and_what_other_lanes_share(machine):
    lane, other = machine.lane(truth=SECOND_A_RUN, max_rows=1), machine.lane("other", SECOND_A_RUN, max_rows=1)
    waits = []
    machine.at(0.0, lambda: [machine.ask(lane), machine.ask(lane)])
    machine.at(0.5, lambda: waits.append(machine.scheduler.wait_s(lane)))
    machine.at(0.6, lambda: machine.ask(other))
    machine.at(0.7, lambda: waits.append(machine.scheduler.wait_s(lane)))
    machine.run()
    assert waits == [pytest.approx(0.516 + 1.016), pytest.approx(0.316 + 2 * 1.016)]


def test_other_lanes_requests_of_low_priority_count_as_well(machine):
    """Priorities order a lane; between lanes the cores are shared whatever they are."""
    lane, other = machine.lane(truth=SECOND_A_RUN), machine.lane("other", SECOND_A_RUN)
    waits = []
    machine.at(0.0, lambda: [machine.ask(lane), machine.ask(lane, first=1)])
    machine.at(0.1, lambda: (machine.ask(lane), machine.ask(other, priority=-4)))
    machine.at(0.5, lambda: waits.append(machine.scheduler.wait_s(lane)))
    machine.run()
    running = 1.032 - 0.5
    assert waits == [pytest.approx(running + 2 * 1.016)]


def test_without_cores_nothing_could_run():
    with pytest.raises(ValueError, match="at least one"):
        CoreBudget(0)


def test_the_budget_is_the_one_that_was_given(machine):
    assert machine.scheduler.budget is machine.budget

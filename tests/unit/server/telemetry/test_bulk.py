"""Events that are worked on many at a time, each once."""

import threading

from server.telemetry.bulk import Bulk


def test_events_are_worked_on_in_order_once_enough_have_come() -> None:
    seen: list[int] = []
    bulk = Bulk(seen.append, size=3)

    bulk.add(1)
    bulk.add(2)
    assert seen == []

    bulk.add(3)
    assert seen == [1, 2, 3]


def test_who_wants_to_know_need_not_wait_for_more() -> None:
    seen: list[int] = []
    bulk = Bulk(seen.append, size=100)
    bulk.add(1)

    bulk.settle()
    bulk.settle()

    assert seen == [1]


def test_a_thread_that_settles_meanwhile_makes_no_event_count_twice_or_never() -> None:
    seen: list[int] = []
    bulk = Bulk(seen.append, size=7)
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            bulk.settle()

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for number in range(20_000):
        bulk.add(number)
    done.set()
    for reader in readers:
        reader.join()
    bulk.settle()

    assert seen == list(range(20_000))


def test_an_event_that_adds_another_is_followed_by_it() -> None:
    seen: list[int] = []

    def work(number: int) -> None:
        seen.append(number)
        if number < 3:
            bulk.add(number + 1)

    bulk = Bulk(work, size=2)
    bulk.add(1)

    for _ in range(3):
        bulk.settle()

    assert seen == [1, 2, 3]

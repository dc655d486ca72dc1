import pytest
from attendant.errors import DeadlineExceeded, InvalidInput, NotFound, Unreachable
from attendant.health import Health, ReadyWait


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_serving_ends_the_wait():
    assert ReadyWait("areas", 5).saw(Health.SERVING) is None


@pytest.mark.parametrize("seen", [Health.NOT_SERVING, Health.UNKNOWN, NotFound("no"), Unreachable("no")])
def test_what_may_still_come_up_is_waited_for(seen):
    assert ReadyWait("areas", 5).saw(seen) > 0


def test_wait_ends_with_the_last_thing_seen():
    clock = Clock()
    wait = ReadyWait("areas", 5, clock)
    clock.now += 4
    assert wait.remaining_s == 1
    clock.now += 1
    with pytest.raises(DeadlineExceeded, match=r"model 'areas' .* 5 s; last seen: not serving"):
        wait.saw(Health.NOT_SERVING)


def test_error_that_waiting_cannot_cure_is_raised_at_once():
    with pytest.raises(InvalidInput):
        ReadyWait("areas", 5).saw(InvalidInput("no"))


def test_serving_at_the_last_look_still_counts():
    clock = Clock()
    wait = ReadyWait("", 5, clock)
    clock.now += 9
    assert wait.remaining_s > 0
    assert wait.saw(Health.SERVING) is None

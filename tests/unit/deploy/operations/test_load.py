import pytest

from deploy.operations.load import Load


def test_answers_are_counted_by_version_and_shown_with_the_first_failures():
    load = Load()
    for version in (1, 1, 2):
        load.ended(version, "", 0.1)
    load.ended(None, "12:00:00 Unreachable: UNAVAILABLE", 0.25)
    assert load.answered == 3
    assert str(load).splitlines() == [
        "3 calls answered (2 by version 1, 1 by version 2), 1 failed, the slowest in 0.25 s",
        "  12:00:00 Unreachable: UNAVAILABLE",
    ]


def test_nobody_waits_for_answers_once_a_call_has_failed():
    load = Load()
    load.ended(None, "failed", 0.1)
    load.wait_for(1000)
    load.wait_for(1000, version=2)
    assert load.answered == 0


def test_answers_that_do_not_come_are_told(monkeypatch):
    monkeypatch.setattr("deploy.operations.load.TIMEOUT_S", 0.0)
    load = Load()
    load.ended(1, "", 0.1)
    with pytest.raises(TimeoutError, match="no 5 answers within 0 s; so far: 1 calls answered"):
        load.wait_for(5, version=2)

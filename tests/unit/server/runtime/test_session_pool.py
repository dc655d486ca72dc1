import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from server.errors import InferenceFailed, RequestCancelled
from server.runtime.session import RunStop, Session
from server.runtime.session_pool import SessionPool
from tests.support.graphs import doubling_graph, write_version

X = {"x": np.array([[1.0, 2.0]], np.float32)}


class Busy:
    """A session whose runs meet at a barrier, and which notes if two of them overlap."""

    def __init__(self, barrier=None):
        self.barrier = barrier
        self.runs = 0
        self.asked = []
        self._lock = threading.Lock()

    def run(self, inputs, outputs=None, stop=None):
        assert self._lock.acquire(blocking=False), "two runs at once in one session"
        try:
            self.runs += 1
            self.asked.append((outputs, stop))
            if self.barrier is not None:
                self.barrier.wait()
            return inputs
        finally:
            self._lock.release()


@pytest.fixture
def real(tmp_path):
    path = write_version(tmp_path, "m", 1, doubling_graph()) / "model.onnx"
    sessions = [Session.open(path) for _ in range(2)]
    yield SessionPool(sessions)
    for session in sessions:
        session.close()


def test_a_run_answers_as_a_session_would(real):
    assert real.run(X)["y"].tolist() == [[2.0, 4.0]]
    assert list(real.run(X, ["y"])) == ["y"]


def test_as_many_runs_go_on_at_once_as_there_are_sessions():
    barrier = threading.Barrier(3, timeout=30)
    sessions = [Busy(barrier) for _ in range(3)]
    pool = SessionPool(sessions)
    with ThreadPoolExecutor(3) as threads:
        list(threads.map(lambda _: pool.run(X), range(3)))
    assert [session.runs for session in sessions] == [1, 1, 1]


def test_further_runs_wait_for_a_session_that_is_free():
    sessions = [Busy(), Busy()]
    pool = SessionPool(sessions)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: pool.run(X), range(200)))
    assert sum(session.runs for session in sessions) == 200


def test_a_run_that_fails_gives_its_session_back(real):
    for _ in range(5):
        with pytest.raises(InferenceFailed):
            real.run({"x": np.zeros((1, 1, 1), np.float32)})
    assert real.run(X)["y"].tolist() == [[2.0, 4.0]]


def test_a_run_is_stopped_by_its_own_stop(real):
    stop = RunStop()
    stop.stop()
    with pytest.raises(RequestCancelled):
        real.run(X, None, stop)
    assert real.run(X)["y"].tolist() == [[2.0, 4.0]]


def test_outputs_and_stop_reach_the_session():
    session, stop = Busy(), RunStop()
    SessionPool([session]).run(X, ["y"], stop)
    assert session.asked == [(["y"], stop)]

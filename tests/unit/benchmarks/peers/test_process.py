import sys

import pytest

from benchmarks.peers.adapter import PeerUnavailable, last_line
from benchmarks.peers.process import ServerProcess

SLEEP = "import time; time.sleep(600)"


def process(tmp_path, code: str) -> ServerProcess:
    return ServerProcess("the server", [sys.executable, "-c", code], {}, tmp_path / "log")


def test_server_that_ends_at_its_start_is_told_with_its_own_reason(tmp_path):
    server = process(tmp_path, "raise SystemExit('error: no such model')")

    with pytest.raises(PeerUnavailable, match="the server ended with 1 at its start: error: no such model"):
        server.wait_until(lambda: False)
    server.stop()


def test_stop_ends_the_server_and_its_children(tmp_path):
    child = (
        f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {SLEEP!r}]); print(1, flush=True); {SLEEP}"
    )
    server = process(tmp_path, child)
    server.wait_until(lambda: (tmp_path / "log").read_text().strip() == "1")
    family = server._family()

    server.stop()

    assert len(family) == 2
    for member in family:
        member.wait(10)
    assert server.cpu_s() == 0


def test_last_line_prefers_an_error(tmp_path):
    (tmp_path / "log").write_text("ERROR: no matching distribution\n\na notice\n")

    assert last_line(tmp_path / "log") == "ERROR: no matching distribution"


def test_log_without_a_word_is_told_so(tmp_path):
    (tmp_path / "log").write_text("\n")

    assert last_line(tmp_path / "log") == "it said nothing"

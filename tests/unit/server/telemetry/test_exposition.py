"""The metrics port, over real sockets."""

import gzip
import http.client
import socket
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest
from prometheus_client.parser import text_string_to_metric_families

from server.telemetry import exposition
from server.telemetry.exposition import MAX_REQUEST_BYTES, Exposition
from server.telemetry.metrics import Metrics


class Probes:
    """What the server says of itself, set by the test."""

    live: str | None = None
    ready: str | None = None


@pytest.fixture
def probes() -> Probes:
    return Probes()


@pytest.fixture
def server(probes: Probes) -> Iterator[Exposition]:
    made = Exposition(Metrics(), live=lambda: probes.live, ready=lambda: probes.ready, host="127.0.0.1", port=0)
    made.start()
    yield made
    made.close()


def ask(server: Exposition, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)) as connection:
        connection.request(method, path, headers={name.replace("_", "-"): text for name, text in headers.items()})
        reply = connection.getresponse()
        return reply.status, {name.lower(): text for name, text in reply.getheaders()}, reply.read()


def send(server: Exposition, content: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(content)
        connection.shutdown(socket.SHUT_WR)
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
        return received


def test_free_port_is_reported(server: Exposition) -> None:
    assert server.port > 0


def test_metrics_are_scraped_and_parse(server: Exposition) -> None:
    status, headers, body = ask(server, "/metrics")

    families = {family.name: family for family in text_string_to_metric_families(body.decode())}
    assert status == 200
    assert headers["content-type"].startswith("text/plain")
    assert int(headers["content-length"]) == len(body)
    assert families["attendant_ready"].samples[0].value == 0
    assert families["attendant_request_seconds"].type == "histogram"


def test_accept_header_chooses_openmetrics(server: Exposition) -> None:
    _, headers, body = ask(server, "/metrics", Accept="application/openmetrics-text;version=1.0.0")

    assert headers["content-type"].startswith("application/openmetrics-text")
    assert body.endswith(b"# EOF\n")


def test_gzip_is_used_where_it_is_accepted(server: Exposition) -> None:
    _, headers, body = ask(server, "/metrics", Accept_Encoding="deflate, gzip;q=0.5")

    assert headers["content-encoding"] == "gzip"
    assert b"attendant_build_info" in gzip.decompress(body)


def test_probes_answer_ok_or_their_own_reason(server: Exposition, probes: Probes) -> None:
    assert ask(server, "/livez")[::2] == ask(server, "/readyz")[::2] == (200, b"ok\n")

    probes.ready = "model m is loading"
    assert ask(server, "/livez")[::2] == (200, b"ok\n")
    assert ask(server, "/readyz")[::2] == (503, b"model m is loading\n")

    probes.live, probes.ready = "the event loop is stuck", None
    assert ask(server, "/livez")[::2] == (503, b"the event loop is stuck\n")
    assert ask(server, "/readyz")[::2] == (200, b"ok\n")


def test_head_has_the_headers_without_the_body(server: Exposition) -> None:
    status, headers, body = ask(server, "/livez", "HEAD")

    assert (status, headers["content-length"], body) == (200, "3", b"")


def test_query_does_not_change_the_path(server: Exposition) -> None:
    assert ask(server, "/readyz?verbose=1")[0] == 200


@pytest.mark.parametrize("path", ["/", "/metrics/", "/../etc/passwd", "//metrics"])
def test_other_paths_are_not_found(server: Exposition, path: str) -> None:
    assert ask(server, path)[0] == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_other_methods_are_refused(server: Exposition, method: str) -> None:
    status, headers, _ = ask(server, "/metrics", method)

    assert (status, headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize(
    "content",
    [
        b"\r\n\r\n",
        b"GET /metrics\r\n\r\n",
        b"GET /metrics SPDY/3\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nAccept: a\nSet-Cookie: b\r\n\r\n",
        b"\x00\xff\xfe\r\n\r\n",
    ],
)
def test_what_is_no_request_is_refused(server: Exposition, content: bytes) -> None:
    assert send(server, content).startswith(b"HTTP/1.1 400 ")


def test_header_that_is_too_long_is_refused(server: Exposition) -> None:
    head = b"GET /metrics HTTP/1.1\r\nAccept: " + b"a" * MAX_REQUEST_BYTES + b"\r\n\r\n"

    assert send(server, head).startswith(b"HTTP/1.1 431 ")


def test_half_a_request_gets_no_answer_and_does_no_harm(server: Exposition) -> None:
    assert send(server, b"GET /metrics HT") == b""
    assert ask(server, "/livez")[0] == 200


def test_stuck_scraper_delays_nobody(server: Exposition) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as stuck:
        stuck.sendall(b"GET /metrics HTTP/1.1\r\n")

        assert ask(server, "/metrics")[0] == 200


def test_stuck_scraper_is_given_up() -> None:
    hasty = Exposition(Metrics(), live=lambda: None, ready=lambda: None, host="127.0.0.1", port=0, timeout_s=0.01)
    hasty.start()
    with socket.create_connection(("127.0.0.1", hasty.port), timeout=10) as stuck:
        stuck.sendall(b"GET /metrics HTTP/1.1\r\n")

        assert stuck.recv(100) == b""
    hasty.close()


def test_connections_beyond_the_bound_are_dropped(server: Exposition, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exposition, "MAX_CONNECTIONS", 0)

    with pytest.raises(OSError):
        ask(server, "/livez")

    monkeypatch.undo()
    assert ask(server, "/livez")[0] == 200


def test_failing_probe_is_an_error_without_its_text(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> str | None:
        raise RuntimeError("secret")

    server = Exposition(Metrics(), live=broken, ready=lambda: None, host="127.0.0.1", port=0)
    server.start()

    status, _, body = ask(server, "/livez")

    assert (status, b"secret" in body) == (500, False)
    assert ask(server, "/readyz")[0] == 200
    assert "metrics port failed" in caplog.text
    server.close()


def test_address_in_use_is_an_os_error(server: Exposition) -> None:
    second = Exposition(Metrics(), live=lambda: None, ready=lambda: None, host="127.0.0.1", port=server.port)

    with pytest.raises(OSError):
        second.start()


def test_close_ends_the_thread_and_frees_the_port() -> None:
    server = Exposition(Metrics(), live=lambda: None, ready=lambda: None, host="127.0.0.1", port=0)
    port = server.start()
    with socket.create_connection(("127.0.0.1", port), timeout=10) as open_connection:
        open_connection.sendall(b"GET /metrics HTTP/1.1\r\n")

        server.close()
        server.close()

    assert "metrics" not in {thread.name for thread in threading.enumerate()}
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=10)


async def test_starts_and_closes_inside_a_running_event_loop() -> None:
    server = Exposition(Metrics(), live=lambda: None, ready=lambda: None, host="127.0.0.1", port=0)

    assert server.start() > 0

    server.close()

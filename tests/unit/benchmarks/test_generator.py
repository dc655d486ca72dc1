"""The compiled client against real servers: ours, and an HTTP/1.1 server of the standard library."""

import struct
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import grpc
import numpy as np
import pytest

from benchmarks.load.build import ClientUnbuildable, build_client
from benchmarks.load.drive import Generator, NobodyListens
from benchmarks.load.measured import measure
from benchmarks.load.plan import Prepared, Transport
from benchmarks.load.records import Outcome
from benchmarks.load.requests import request_list
from benchmarks.load.schedule import Closed, Open, Phase
from benchmarks.load.verdict import TOLERANCES
from benchmarks.peers.generate_wire import messages_of
from benchmarks.peers.process import free_port
from benchmarks.peers.wire import NoopInference, RawHttp
from benchmarks.shapes.publish import NOOP, published
from tests.support.serving_thread import serving_in_thread

CACHE = Path(__file__).parents[3] / ".cache" / "benchmarks"
REQUESTS = request_list("mixed", 32, 1000, seed=5)
REFERENCE = [ids.astype(np.float32) for ids in REQUESTS.rows]
PHASE = Phase(warm_up_s=0.1, measured_s=0.5)


@pytest.fixture(scope="module")
def generator():
    try:
        return Generator(build_client(CACHE))
    except ClientUnbuildable as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    with serving_in_thread(published(NOOP, tmp_path_factory.mktemp("cache"))) as server:
        yield int(server.address.rpartition(":")[2])


def driven(generator, wire, port, schedule, reference=REFERENCE, phase=PHASE):
    records = generator.drive(wire.prepare(REQUESTS.rows, port), schedule, phase)
    lengths = REQUESTS.lengths.tolist()
    return measure(records, schedule, phase, lengths, wire.read, reference, TOLERANCES["fp32"])


def test_every_reply_of_our_server_is_right(generator, port):
    found = driven(generator, NoopInference(), port, Closed(8))

    assert found.answered > 0
    assert found.sound
    assert found.max_error == 0
    assert found.useful_tokens > found.answered
    assert 0 < found.figure("p50_ms") <= found.figure("p99_ms")


def test_wrong_reply_is_detected(generator, port):
    mistaken = [*REFERENCE[:3], REFERENCE[3] + 1, *REFERENCE[4:]]

    found = driven(generator, NoopInference(), port, Closed(8), mistaken)

    assert 0 < found.wrong < found.answered
    assert not found.errors


def test_open_loop_sends_what_was_planned(generator, port):
    found = driven(generator, NoopInference(), port, Open(rate=400))

    assert found.sound
    assert found.answered == pytest.approx(400 * PHASE.measured_s, rel=0.35)  # Poisson, from a fixed seed
    assert found.rate == 400


def test_refusals_are_counted_with_their_status(generator, port):
    prepared = NoopInference().prepare(REQUESTS.rows, port)
    unknown = replace(prepared, path="/inference.GRPCInferenceService/NoSuchMethod")

    records = generator.drive(unknown, Closed(2), Phase(0.0, 0.05))

    assert set(records.calls["outcome"].tolist()) == {1}
    assert set(records.calls["status"].tolist()) == {12}


def test_deadline_travels_as_metadata(generator, port):
    prepared = replace(NoopInference().prepare(REQUESTS.rows, port), headers={"grpc-timeout": "1n"})

    records = generator.drive(prepared, Closed(1), Phase(0.0, 0.05))

    assert 4 in records.calls["status"].tolist()


@contextmanager
def streaming_server():
    """A gRPC server that sends a request back byte by byte, a message each."""

    def bytes_of(request, context):
        yield from (request[at : at + 1] for at in range(len(request)))

    handler = grpc.unary_stream_rpc_method_handler(bytes_of)
    server = grpc.server(ThreadPoolExecutor(max_workers=4))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("echo.Echo", {"Bytes": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield port
    finally:
        server.stop(grace=None).wait()


def streaming(port: int, *bodies: bytes) -> Prepared:
    framed = [struct.pack(">BI", 0, len(body)) + body for body in bodies]
    return Prepared(Transport.GRPC_STREAM, port, framed, "/echo.Echo/Bytes")


def test_arrival_of_every_message_of_a_stream_is_noted(generator):
    with streaming_server() as port:
        records = generator.drive(streaming(port, b"abc", b"defgh"), Open(rate=100), Phase(0.0, 0.2))

    assert set(records.calls["outcome"].tolist()) == {0}
    for call, body, arrived in zip(records.calls, records.answers(), records.arrivals(), strict=True):
        sent = b"defgh" if call["request"] else b"abc"
        assert list(messages_of(body)) == [sent[at : at + 1] for at in range(len(sent))]
        assert call["sent_s"] <= arrived[0]
        assert list(arrived) == sorted(arrived)
        assert arrived[-1] <= call["done_s"]


def test_stream_without_a_message_is_no_answer(generator):
    with streaming_server() as port:
        records = generator.drive(streaming(port, b""), Closed(1), Phase(0.0, 0.05))

    assert set(records.calls["outcome"].tolist()) == {Outcome.MALFORMED}


def test_calls_go_on_beginning_while_the_run_cools_down(generator, port):
    records = generator.drive(NoopInference().prepare(REQUESTS.rows, port), Closed(1), Phase(0.0, 0.05, 30.0, 0.1))

    assert records.calls["sent_s"].max() > 0.05


def test_port_without_a_server_is_told(generator):
    with pytest.raises(NobodyListens, match="cannot connect"):
        driven(generator, NoopInference(), free_port(), Closed(1))


class Echo(BaseHTTPRequestHandler):
    """Sends back the ids as FP32, in the manner that the path names."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        ids = np.frombuffer(self.rfile.read(int(self.headers["content-length"])), "<i8")
        body = ids.astype("<f4").tobytes()
        if self.path == "/refused":
            self.send_error(503)
        elif self.path == "/silent":
            self.close_connection = True
        else:
            self.answer(body)

    def answer(self, body):
        self.send_response(200)
        if self.path == "/chunked":
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for part in (body[:3], body[3:]):
                if part:
                    self.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
            self.wfile.write(b"0\r\n\r\n")
            return
        if self.path == "/until-closed":
            self.close_connection = True
        else:
            self.send_header("Content-Length", str(len(body)))
        if self.path == "/closing":
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Says nothing."""


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        """A client that has gone is nothing to tell of."""


@contextmanager
def http_server():
    server = Server(("127.0.0.1", 0), Echo)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("path", ["/length", "/chunked", "/closing", "/until-closed"])
def test_every_way_to_end_an_http_answer_is_understood(generator, path):
    with http_server() as port:
        found = driven(generator, RawHttp(path), port, Closed(4))

    assert found.answered > 0
    assert found.sound


@pytest.mark.parametrize(("path", "kind"), [("/refused", "refused 503"), ("/silent", "disconnected")])
def test_http_failures_are_counted_by_kind(generator, path, kind):
    with http_server() as port:
        found = driven(generator, RawHttp(path), port, Closed(2), phase=Phase(0.0, 0.1))

    assert found.answered == 0
    assert found.errors.keys() == {kind}


def test_open_loop_over_http_opens_the_connections_it_needs(generator):
    with http_server() as port:
        found = driven(generator, RawHttp("/length"), port, Open(rate=200))

    assert found.sound
    assert found.answered > 0

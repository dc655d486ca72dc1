"""The client against a real gRPC server whose service answers as the test needs."""

import asyncio
import json
import os
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import attendant
import grpc
import numpy as np
import pytest
from attendant import (
    AsyncClient,
    Attention,
    Cancelled,
    Client,
    DeadlineExceeded,
    Health,
    InvalidInput,
    NotFound,
    NotSupported,
    Overloaded,
    ServerError,
    TooLarge,
    Unavailable,
    Unreachable,
    word_weights,
)
from attendant.errors import error_from_status
from attendant.v1 import attendant_service_pb2_grpc, attention_pb2, classify_pb2, common_pb2
from google.protobuf import any_pb2
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1.health import HealthServicer
from grpc_health.v1.health_pb2 import HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server
from grpc_status import rpc_status
from PIL import Image

from server import errors
from server.rpc.status import CODES, rich_status

# The first row that fits; what is in none of the first rows is a failure of the server.
MEANING = {
    errors.LimitExceeded: TooLarge,
    errors.InvalidRequest: InvalidInput,
    errors.NotFound: NotFound,
    errors.TaskNotSupported: NotSupported,
    errors.NotImplementedHere: NotSupported,
    errors.Unavailable: Unavailable,
    errors.Overloaded: Overloaded,
    errors.DeadlineExpired: DeadlineExceeded,
    errors.RequestCancelled: Cancelled,
    errors.ServeError: ServerError,
}

TEXT_WEIGHTS = np.array([[0.5, 0.3, 0.2], [0.1, 0.6, 0.3], [0.0, 0.9, 0.1]], np.float32)
CELL_WEIGHTS = np.full((4, 4), 0.25, np.float32)


def refuse(context: grpc.ServicerContext, code: grpc.StatusCode, reason: str, **metadata: str) -> None:
    """Aborts as the server does: ErrorInfo always, RetryInfo where the caller should come back."""
    details = [any_pb2.Any(), any_pb2.Any()]
    details[0].Pack(error_details_pb2.ErrorInfo(reason=reason, domain="attendant", metadata=metadata))
    details[1].Pack(error_details_pb2.RetryInfo(retry_delay=Duration(nanos=500_000_000)))
    chosen = details if code is grpc.StatusCode.RESOURCE_EXHAUSTED else details[:1]
    context.abort_with_status(
        rpc_status.to_status(status_pb2.Status(code=code.value[0], message=f"because of {reason}", details=chosen))
    )


class Service(attendant_service_pb2_grpc.AttendantServiceServicer):
    """Answers by the model's name and counts the attempts that it saw."""

    def __init__(self) -> None:
        self.attempts: Counter[str] = Counter()
        self.requests: list[classify_pb2.ClassifyRequest] = []
        self.entered = threading.Event()
        self.release = threading.Event()
        self.cancelled = threading.Event()

    def Classify(  # noqa: N802  (the RPC's name)
        self, request: classify_pb2.ClassifyRequest, context: grpc.ServicerContext
    ) -> classify_pb2.ClassifyResponse:
        name = request.model.name
        self.attempts[name] += 1
        self.requests.append(request)
        if name == "draining-once" and self.attempts[name] == 1:
            refuse(context, grpc.StatusCode.UNAVAILABLE, "DRAINING")
        if name == "draining":
            refuse(context, grpc.StatusCode.UNAVAILABLE, "DRAINING")
        if name == "full":
            refuse(context, grpc.StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL", max_queue_rows="8")
        if name == "narrow":
            refuse(context, grpc.StatusCode.INVALID_ARGUMENT, "SIGNATURE_MISMATCH", input="pixels")
        if name == "broken":
            raise RuntimeError("secret")
        if name == "slow":
            context.add_callback(self.cancelled.set)
            self.entered.set()
            self.release.wait()
        if name not in ("areas", "digits", "draining-once", "slow"):
            refuse(context, grpc.StatusCode.NOT_FOUND, "MODEL_NOT_FOUND", model=name)
        return reply(request)


def reply(request: classify_pb2.ClassifyRequest) -> classify_pb2.ClassifyResponse:
    results = [
        classify_pb2.Classification(
            labels=[
                classify_pb2.Label(name=f"{len(each.text) or len(each.image)}", index=1, score=0.75),
                classify_pb2.Label(name="other", score=0.25),
            ][: request.top_k or None],
            attention=[attention_map(each)] if request.HasField("attention") else [],
            timing=common_pb2.Timing(queue_s=0.25, compute_s=0.5, batch_rows=len(request.inputs)),
        )
        for each in request.inputs
    ]
    return classify_pb2.ClassifyResponse(
        model=common_pb2.ModelVersion(name=request.model.name, version=request.model.version or 7, alias="stable"),
        results=results,
        timing=common_pb2.Timing(queue_s=0.25, compute_s=0.5, request_s=1),
        request_id=request.request_id,
    )


def attention_map(each: classify_pb2.ClassifyInput) -> attention_pb2.AttentionMap:
    if each.WhichOneof("content") == "image":
        labels = attention_pb2.AxisLabels(cells=attention_pb2.Cells(rows=2, columns=2))
        weights = CELL_WEIGHTS
    else:
        tokens = [{"text": "[CLS]"}, {"text": "mean", "start": 0, "end": 4}, {"text": "it", "start": 5, "end": 7}]
        labels = attention_pb2.AxisLabels(tokens=attention_pb2.Tokens(tokens=tokens))
        weights = TEXT_WEIGHTS
    return attention_pb2.AttentionMap(
        name="encoder",
        reduction=attention_pb2.REDUCTION_MEAN,
        query=labels,
        key=labels,
        shape=weights.shape,
        weights=weights.astype("<f4").tobytes(),
    )


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def health() -> HealthServicer:
    return HealthServicer()


@pytest.fixture
def address(service: Service, health: HealthServicer) -> Iterator[str]:
    server = grpc.server(ThreadPoolExecutor(4), options=[("grpc.max_receive_message_length", 2 * 1024**2)])
    attendant_service_pb2_grpc.add_AttendantServiceServicer_to_server(service, server)
    add_HealthServicer_to_server(health, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    service.release.set()
    server.stop(None).wait()


class Blocking:
    """An AsyncClient called as a Client is, so that one test holds for both."""

    def __init__(self, address: str, **arguments: Any) -> None:
        self._client = AsyncClient(address, **arguments)
        self._runner = asyncio.Runner()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return lambda *positional, **named: self._runner.run(getattr(self._client, name)(*positional, **named))

    def __enter__(self) -> "Blocking":
        return self

    def __exit__(self, *error: object) -> None:
        self._runner.run(self._client.close())
        self._runner.close()


@pytest.fixture(params=[Client, Blocking], ids=["sync", "asyncio"])
def connect(request: pytest.FixtureRequest) -> Callable[..., Any]:
    return request.param


def test_texts_bytes_and_files_are_classified_in_one_call(connect, address, tmp_path):
    image = tmp_path / "three.png"
    image.write_bytes(b"12345")
    with connect(address) as client:
        result = client.classify("areas", ["text", b"123", image], version=3, top_k=1, request_id="mine")
    assert [each.best.name for each in result] == ["4", "3", "5"]
    assert (result.model.version, result.request_id, result[0].timing.batch_rows) == (3, "mine", 3)


def test_attention_comes_back_as_arrays_with_words(connect, address):
    with connect(address) as client:
        (only,) = client.classify("areas", "mean it", attention=True)
    (attention,) = only.attention
    np.testing.assert_array_equal(attention.weights, TEXT_WEIGHTS)
    words = word_weights(attention, "mean it")
    assert [word.word for word in words] == ["mean", "it"]
    np.testing.assert_allclose([word.weight for word in words], [0.6, 0.2], rtol=1e-6)


def test_chosen_attention_reaches_the_server(connect, address, service):
    with connect(address) as client:
        client.classify("areas", "mean it", attention=Attention(layers=[1], reduction="rollout", top_k=2))
    assert service.requests[0].attention == attention_pb2.AttentionRequest(
        layers=[1], reduction=attention_pb2.REDUCTION_ROLLOUT, top_k=2
    )


def test_refusal_names_code_reason_metadata_and_request(connect, address, service):
    with connect(address) as client, pytest.raises(InvalidInput) as caught:
        client.classify("narrow", "text", request_id="mine")
    error = caught.value
    assert (error.code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "SIGNATURE_MISMATCH")
    assert (error.metadata, error.request_id) == ({"input": "pixels"}, "mine")
    assert error.message == "because of SIGNATURE_MISMATCH"
    assert service.attempts["narrow"] == 1


@pytest.mark.parametrize("kind", CODES, ids=lambda kind: kind.__name__)
def test_every_error_of_the_server_becomes_what_the_caller_would_do(kind):
    status = rich_status(kind("why"), "id")
    error = error_from_status(status.code, status.details, status.trailing_metadata)
    expected = next(client for server, client in MEANING.items() if issubclass(kind, server))
    assert (type(error), error.reason, error.message) == (expected, kind.reason, "why")
    assert error.request_id == "id"
    assert (error.retry_after_s is not None) == (expected is Overloaded)


def test_unknown_model_is_not_found(connect, address):
    with connect(address) as client, pytest.raises(NotFound, match="MODEL_NOT_FOUND"):
        client.classify("nobody", "text")


def test_draining_server_is_tried_again(connect, address, service):
    with connect(address) as client:
        result = client.classify("draining-once", "text")
    assert result.model.name == "draining-once"
    assert service.attempts["draining-once"] == 2


def test_large_request_is_tried_again_too(connect, address, service):
    with connect(address) as client:
        client.classify("draining-once", b"x" * 1024**2)
    assert service.attempts["draining-once"] == 2


def test_retries_end_with_the_servers_reason(connect, address, service):
    with connect(address, retries=1) as client, pytest.raises(Unavailable, match="DRAINING") as caught:
        client.classify("draining", "text")
    assert not isinstance(caught.value, Unreachable)
    assert service.attempts["draining"] == 2


def test_zero_retries_try_once(connect, address, service):
    with connect(address, retries=0) as client, pytest.raises(Unavailable):
        client.classify("draining", "text")
    assert service.attempts["draining"] == 1


def test_overload_is_not_retried_and_carries_the_hint(connect, address, service):
    with connect(address) as client, pytest.raises(Overloaded) as caught:
        client.classify("full", "text")
    assert (caught.value.reason, caught.value.retry_after_s) == ("QUEUE_FULL", 0.5)
    assert service.attempts["full"] == 1


def test_message_that_the_server_finds_too_large_is_too_large(connect, address, service):
    with connect(address) as client, pytest.raises(TooLarge) as caught:
        client.classify("areas", b"x" * (3 * 1024**2))
    assert (caught.value.code, caught.value.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "")
    assert not service.attempts


def test_message_that_the_client_may_not_send_is_too_large(connect, address, service):
    with connect(address, max_message_bytes=1000) as client, pytest.raises(TooLarge):
        client.classify("areas", b"x" * 2000)
    assert not service.attempts


def test_deadline_of_the_call_wins_over_the_clients(connect, address, service):
    with connect(address, timeout_s=60) as client, pytest.raises(DeadlineExceeded) as caught:
        client.classify("slow", "text", timeout_s=0.1)
    assert caught.value.reason == ""
    assert service.cancelled.wait(10)


def test_deadline_of_the_client_holds_for_every_call(connect, address):
    with connect(address, timeout_s=0.1) as client, pytest.raises(DeadlineExceeded):
        client.classify("slow", "text")


def test_failure_without_details_is_a_server_error(connect, address):
    with connect(address) as client, pytest.raises(ServerError) as caught:
        client.classify("broken", "text")
    assert (caught.value.code, caught.value.reason) == (grpc.StatusCode.UNKNOWN, "")


def test_nobody_at_the_address_is_unreachable(connect, free_address):
    with connect(free_address, retries=0) as client, pytest.raises(Unreachable):
        client.classify("areas", "text")


def test_health_of_server_and_model(connect, address, health):
    health.set("areas", HealthCheckResponse.NOT_SERVING)
    with connect(address) as client:
        assert client.health() is Health.SERVING
        assert client.health("areas") is Health.NOT_SERVING
        with pytest.raises(NotFound):
            client.health("nobody")


def test_wait_ends_when_the_model_serves(connect, address, health):
    health.set("areas", HealthCheckResponse.NOT_SERVING)
    with connect(address) as client:
        with pytest.raises(DeadlineExceeded, match="last seen: not serving"):
            client.wait_ready("areas", timeout_s=0.1)
        starting = threading.Timer(0.1, health.set, ["areas", HealthCheckResponse.SERVING])
        starting.start()
        client.wait_ready("areas")
        starting.join()


def test_wait_for_nobody_ends_at_its_deadline(connect, free_address):
    with connect(free_address) as client, pytest.raises(DeadlineExceeded, match=r"within 0\.2 s"):
        client.wait_ready(timeout_s=0.2)


def test_one_client_serves_many_threads(address):
    with Client(address) as client, ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda number: client.classify("areas", "x" * (number + 1)), range(64)))
    assert [result[0].best.name for result in results] == [str(number + 1) for number in range(64)]


async def test_one_asyncio_client_serves_many_tasks(address):
    async with AsyncClient(address) as client:
        results = await asyncio.gather(*(client.classify("areas", "x" * (number + 1)) for number in range(64)))
    assert [result[0].best.name for result in results] == [str(number + 1) for number in range(64)]


async def test_cancelled_task_cancels_the_call_at_the_server(address, service):
    async with AsyncClient(address) as client:
        task = asyncio.create_task(client.classify("slow", "text"))
        assert await asyncio.to_thread(service.entered.wait, 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await asyncio.to_thread(service.cancelled.wait, 10)


@pytest.fixture
def free_address() -> Iterator[str]:
    """An address at which nothing listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{bound.getsockname()[1]}"


def command(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    package = Path(attendant.__file__).parents[1]
    return subprocess.run(
        [sys.executable, "-m", "attendant", *arguments],
        input=stdin,
        capture_output=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": str(package), "COLUMNS": "100"},
    )


def png() -> bytes:
    content = BytesIO()
    Image.new("RGB", (8, 8)).save(content, format="PNG")
    return content.getvalue()


def test_command_prints_labels_and_words(address):
    done = command("classify", "areas", "mean it", "--attention", "--address", address)
    assert (done.returncode, done.stderr) == (0, b"")
    lines = done.stdout.decode().splitlines()
    assert lines[0].startswith("areas version 7 (stable)")
    assert [line.split()[:2] for line in lines if "█" in line] == [
        ["7", "0.750"],
        ["other", "0.250"],
        ["mean", "0.600"],
        ["it", "0.200"],
    ]


def test_command_prints_json_of_files_and_standard_input(address, tmp_path):
    (tmp_path / "digit.png").write_bytes(png())
    (tmp_path / "note.txt").write_text("mean it", encoding="utf-8")
    files = [str(tmp_path / "digit.png"), str(tmp_path / "note.txt")]
    arguments = ["--json", "--attention", "--version", "3", "--address", address]
    done = command("classify", "areas", *files, "-", *arguments, stdin="naïve".encode())
    assert done.returncode == 0
    printed = json.loads(done.stdout)
    assert [each["labels"][0]["name"] for each in printed["results"]] == [str(len(png())), "7", "5"]
    assert printed["results"][0]["attention"][0]["cells"] == [[0.25, 0.25], [0.25, 0.25]]
    assert printed["model"]["version"] == 3


def test_command_draws_a_heat_map_for_each_image(address, tmp_path):
    for name in ("one.png", "two.png"):
        (tmp_path / name).write_bytes(png())
    images = [str(tmp_path / "one.png"), str(tmp_path / "two.png")]
    one = command("classify", "digits", images[0], "--heatmap", str(tmp_path / "out.png"), "--address", address)
    both = command("classify", "digits", *images, "--heatmap", str(tmp_path / "map.png"), "--address", address)
    assert (one.returncode, both.returncode) == (0, 0)
    for name in ("out.png", "map-1.png", "map-2.png"):
        with Image.open(tmp_path / name) as drawn:
            assert drawn.size == (256, 256)


def test_command_exits_1_with_the_reason_when_refused(address):
    done = command("classify", "nobody", "text", "--address", address)
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.startswith(b"attendant: MODEL_NOT_FOUND: because of MODEL_NOT_FOUND (request ")
    refused = command("classify", "narrow", "text", "--json", "--address", address)
    assert refused.returncode == 1
    error = json.loads(refused.stdout)["error"]
    assert (error["reason"], error["metadata"]) == ("SIGNATURE_MISMATCH", {"input": "pixels"})


@pytest.mark.parametrize(
    "arguments",
    [
        ["classify", "areas"],
        ["classify", "areas", "text", "--version", "1", "--alias", "stable"],
        ["classify", "areas", "text", "--truncation", "middle"],
        ["classify", "digits", "missing.png"],
        ["classify", "areas", "text", "--heatmap", "out.png"],
        ["classify", "areas", "text", "--timeout", "0"],
        ["classifies"],
    ],
)
def test_command_exits_2_when_used_wrongly(arguments):
    done = command(*arguments)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr
    assert b"Traceback" not in done.stderr


def test_command_exits_3_when_nobody_answers(free_address):
    assert command("classify", "areas", "text", "--address", free_address).returncode == 3
    assert command("health", "--address", free_address).returncode == 3


def test_command_tells_health_by_its_exit_code(address, health):
    health.set("areas", HealthCheckResponse.NOT_SERVING)
    serving = command("health", "--wait", "10", "--address", address)
    assert (serving.returncode, serving.stdout) == (0, b"server: serving\n")
    assert command("health", "areas", "--address", address).returncode == 1
    assert json.loads(command("health", "--json", "--address", address).stdout) == {"model": "", "health": "serving"}

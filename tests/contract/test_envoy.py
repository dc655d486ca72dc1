"""Envoy's configuration agrees with the server's settings, with what may be tried again, and with compose."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from protos.generate import TRANSCODING, descriptor_set
from server.errors import Overloaded
from server.rpc.server import MIN_PING_INTERVAL_MS
from server.rpc.status import CODES
from server.settings import Settings

ROOT = Path(__file__).parents[2]
FILE = ROOT / "deploy/envoy/envoy.yaml"
BINARY = shutil.which("envoy", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
ENVOY = yaml.safe_load(FILE.read_text(encoding="utf-8"))
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICE = COMPOSE["services"]["envoy"]
DEFAULTS = Settings.model_construct()
LISTENERS = {each["name"]: each for each in ENVOY["static_resources"]["listeners"]}
CLUSTERS = {each["name"]: each for each in ENVOY["static_resources"]["clusters"]}
CALLS = LISTENERS["calls"]["filter_chains"][0]["filters"][0]["typed_config"]
(CALLS_HOST,) = CALLS["route_config"]["virtual_hosts"]
FILTERS = {each["name"].rsplit(".", 1)[-1]: each["typed_config"] for each in CALLS["http_filters"]}


def endpoint(cluster: str) -> tuple[str, int]:
    (group,) = CLUSTERS[cluster]["load_assignment"]["endpoints"]
    (each,) = group["lb_endpoints"]
    return place(each["endpoint"])


def place(holder: dict[str, Any]) -> tuple[str, int]:
    address = holder["address"]["socket_address"]
    return address["address"], address["port_value"]


def retried() -> set[str]:
    return set(CALLS_HOST["retry_policy"]["retry_on"].split(","))


def in_bytes(size: str) -> int:
    number, unit = re.fullmatch(r"(\d+)([mg])", size).groups()
    return int(number) * {"m": 2**20, "g": 2**30}[unit]


def test_calls_are_balanced_over_every_address_of_the_service() -> None:
    assert endpoint("server") == ("server", DEFAULTS.grpc.port)
    assert "server" in COMPOSE["services"]
    assert CLUSTERS["server"]["cluster_type"]["name"] == "envoy.cluster.dns"


def test_only_the_port_of_calls_is_published() -> None:
    (published,) = SERVICE["ports"]
    assert published.endswith(f":{place(LISTENERS['calls'])[1]}")
    assert place(LISTENERS["calls"])[1] == DEFAULTS.grpc.port


def test_the_admin_port_is_for_envoy_itself_and_two_pages_of_it_are_shown() -> None:
    assert place(ENVOY["admin"])[0] == "127.0.0.1"
    assert place(ENVOY["admin"]) == endpoint("admin")
    shown = LISTENERS["metrics"]["filter_chains"][0]["filters"][0]["typed_config"]["route_config"]
    (host,) = shown["virtual_hosts"]
    assert [route["match"]["path"] for route in host["routes"]] == ["/stats/prometheus", "/ready"]


def test_what_may_be_tried_again_at_once_is_tried_and_overload_is_not() -> None:
    overload = {code for error, code in CODES.items() if issubclass(error, Overloaded)}
    assert grpc.StatusCode.UNAVAILABLE in CODES.values()
    assert overload == {grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert retried() == {"connect-failure", "refused-stream", "reset", "unavailable"}


def test_a_second_attempt_goes_to_another_replica() -> None:
    (predicate,) = CALLS_HOST["retry_policy"]["retry_host_predicate"]
    assert predicate["name"] == "envoy.retry_host_predicates.previous_hosts"


def test_every_call_that_the_server_takes_may_be_tried_again() -> None:
    assert CALLS_HOST["request_body_buffer_limit"] == DEFAULTS.grpc.max_message_bytes
    assert FILTERS["grpc_json_transcoder"]["max_request_body_size"] == DEFAULTS.grpc.max_message_bytes


def test_idle_replicas_are_asked_for_their_health_too() -> None:
    (check,) = CLUSTERS["server"]["health_checks"]
    assert check["no_traffic_interval"] == check["interval"] == "1s"
    assert check["grpc_health_check"] == {}


def test_connections_are_not_pinged_more_often_than_the_server_bears() -> None:
    (options,) = CLUSTERS["server"]["typed_extension_protocol_options"].values()
    keepalive = options["explicit_http_config"]["http2_protocol_options"]["connection_keepalive"]
    assert float(keepalive["interval"].removesuffix("s")) * 1000 > MIN_PING_INTERVAL_MS


def test_no_page_of_another_origin_may_call() -> None:
    (policy,) = CALLS_HOST["typed_per_filter_config"].values()
    assert policy["allow_origin_string_match"] == []


def test_only_content_types_that_a_browser_asks_about_reach_a_server() -> None:
    direct = CALLS_HOST["routes"][-1]
    assert direct["direct_response"]["status"] == 415
    for route in CALLS_HOST["routes"][:-1]:
        needed = {header["name"]: header for header in route["match"]["headers"]}
        assert "content-type" in needed or needed[":method"]["string_match"] == {"exact": "OPTIONS"}
        if "content-type" in needed:
            pattern = needed["content-type"]["string_match"]["safe_regex"]["regex"]
            taken = ["application/grpc", "application/grpc+proto", "application/grpc-web-text", "application/json"]
            assert all(re.fullmatch(pattern, kind) for kind in taken)
            assert not any(re.fullmatch(pattern, kind) for kind in ("text/plain", "application/x-www-form-urlencoded"))


def test_every_task_shaped_call_can_be_made_in_json() -> None:
    known = FileDescriptorSet.FromString((ROOT / TRANSCODING).read_bytes()).file
    services = {f"{file.package}.{service.name}" for file in known for service in file.service}
    own = descriptor_set("attendant/v1").file
    assert services == {f"{file.package}.{service.name}" for file in own for service in file.service}
    assert set(FILTERS["grpc_json_transcoder"]["services"]) == services
    assert "ErrorInfo" in {message.name for file in known for message in file.message_type}


def test_the_files_that_envoy_reads_are_mounted() -> None:
    named = [Path(FILTERS["grpc_json_transcoder"]["proto_descriptor"]), Path(SERVICE["command"][1])]
    (volume,) = SERVICE["volumes"]
    folder, inside, mode = volume.split(":")
    assert mode == "ro"
    assert all(str(path.parent) == inside and (ROOT / folder / path.name).is_file() for path in named)


def test_envoy_refuses_calls_before_its_container_is_full() -> None:
    heap = ENVOY["overload_manager"]["resource_monitors"][0]["typed_config"]["max_heap_size_bytes"]
    assert heap < in_bytes(SERVICE["mem_limit"])


@pytest.mark.skipif(BINARY is None, reason="Envoy is not installed")
def test_envoy_itself_finds_nothing_wrong(tmp_path: Path) -> None:
    copy = tmp_path / "envoy.yaml"
    copy.write_text(FILE.read_text(encoding="utf-8").replace("/etc/envoy/", f"{FILE.parent}/"), encoding="utf-8")
    done = subprocess.run([BINARY, "--mode", "validate", "-c", copy], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "[warning]" not in done.stderr

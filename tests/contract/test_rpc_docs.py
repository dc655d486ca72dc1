"""docs/rpc.md has every method of every service, and says which are not implemented."""

from pathlib import Path

import pytest
from attendant.v1 import attendant_service_pb2
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from server.rpc.open_inference.log_control import LOG_FILE, LOG_FORMAT, SWITCHES
from server.rpc.open_inference.parameters import EMPTY_FINAL_RESPONSE, IGNORED, SEQUENCE, SHARED_MEMORY
from server.rpc.open_inference.service import (
    EXTENSIONS,
    LOGGING,
    MODEL_REPOSITORY,
    SYSTEM_SHARED_MEMORY,
    UNIMPLEMENTED,
)
from server.rpc.open_inference.stream import FINAL_RESPONSE, STRICT_HEADER
from server.settings import Settings
from server.tensors import Datatype
from server.wire import grpc_service_pb2

PAGE = (Path(__file__).parents[2] / "docs" / "rpc.md").read_text(encoding="utf-8")
FILES = (grpc_service_pb2, attendant_service_pb2, health_pb2, reflection_pb2)
SERVICES = {service.full_name: service for file in FILES for service in file.DESCRIPTOR.services_by_name.values()}


def documented(service: str) -> dict[str, str]:
    """Method -> the rest of its row; a mark for what concerns one replica stands after the name."""
    section = PAGE.split(f"\n## {service}\n")[1].split("\n## ")[0].split("\n### ")[0]
    cells = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    return {row[0].split()[0]: "|".join(row[1:]) for row in cells[2:]}


@pytest.mark.parametrize("service", SERVICES)
def test_every_method_is_documented_and_no_other(service):
    assert documented(service).keys() == {method.name for method in SERVICES[service].methods}


def test_what_is_not_implemented_says_so():
    rows = documented("inference.GRPCInferenceService")
    assert {name for name, rest in rows.items() if rest.strip().startswith("UNIMPLEMENTED")} == set(UNIMPLEMENTED)


def test_calls_that_concern_one_replica_are_marked():
    section = PAGE.split("\n## inference.GRPCInferenceService\n")[1].split("\n### ")[0]
    marked = {line.split()[1] for line in section.splitlines() if line.startswith("|") and "¹" in line.split("|")[1]}
    implemented = documented("inference.GRPCInferenceService").keys() - set(UNIMPLEMENTED)
    concerned = ("ModelStatistics", "Repository", "SystemSharedMemory", "LogSettings")
    assert marked == {name for name in implemented if name.startswith(concerned)}


EVERYWHERE = [*EXTENSIONS, *MODEL_REPOSITORY, SYSTEM_SHARED_MEMORY, LOGGING]
PARAMETERS = [*sorted(IGNORED | SEQUENCE), *SHARED_MEMORY, EMPTY_FINAL_RESPONSE, FINAL_RESPONSE]


@pytest.mark.parametrize("word", [*EVERYWHERE, *PARAMETERS, *SWITCHES, LOG_FILE, LOG_FORMAT])
def test_every_extension_parameter_and_log_setting_is_documented(word):
    assert f"`{word}`" in PAGE


def test_the_header_for_strict_streams_is_documented():
    assert f"`{STRICT_HEADER}: true`" in PAGE


@pytest.mark.parametrize("datatype", list(Datatype))
def test_every_datatype_is_documented(datatype):
    assert datatype.value in PAGE


def test_settings_that_the_page_names_exist():
    groups = {name: info.annotation.model_fields for name, info in Settings.model_fields.items()}
    for group, fields in groups.items():
        for mention in PAGE.split(f"`{group}.")[1:]:
            name = mention.split("`")[0].split("=")[0]
            assert name in fields, f"{group}.{name}"

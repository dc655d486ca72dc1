"""docs/rpc.md has every method of every service, and says which are not implemented."""

from pathlib import Path

import pytest
from attendant.v1 import attendant_service_pb2
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from server.rpc.open_inference.parameters import IGNORED, SEQUENCE
from server.rpc.open_inference.service import EXTENSIONS, MODEL_REPOSITORY, UNIMPLEMENTED
from server.settings import Settings
from server.tensors import Datatype
from server.wire import grpc_service_pb2

PAGE = (Path(__file__).parents[2] / "docs" / "rpc.md").read_text(encoding="utf-8")
FILES = (grpc_service_pb2, attendant_service_pb2, health_pb2, reflection_pb2)
SERVICES = {service.full_name: service for file in FILES for service in file.DESCRIPTOR.services_by_name.values()}


def documented(service: str) -> dict[str, str]:
    """Method -> the rest of its row."""
    section = PAGE.split(f"\n## {service}\n")[1].split("\n## ")[0].split("\n### ")[0]
    cells = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    return {row[0].strip(): "|".join(row[1:]) for row in cells[2:]}


@pytest.mark.parametrize("service", SERVICES)
def test_every_method_is_documented_and_no_other(service):
    assert documented(service).keys() == {method.name for method in SERVICES[service].methods}


def test_what_is_not_implemented_says_so():
    rows = documented("inference.GRPCInferenceService")
    assert {name for name, rest in rows.items() if rest.strip().startswith("UNIMPLEMENTED")} == set(UNIMPLEMENTED)


@pytest.mark.parametrize("word", [*EXTENSIONS, *MODEL_REPOSITORY, *sorted(IGNORED | SEQUENCE)])
def test_every_extension_and_parameter_is_documented(word):
    assert f"`{word}`" in PAGE


@pytest.mark.parametrize("datatype", list(Datatype))
def test_every_datatype_is_documented(datatype):
    assert datatype.value in PAGE


def test_settings_that_the_page_names_exist():
    groups = {name: info.annotation.model_fields for name, info in Settings.model_fields.items()}
    for group, fields in groups.items():
        for mention in PAGE.split(f"`{group}.")[1:]:
            name = mention.split("`")[0].split("=")[0]
            assert name in fields, f"{group}.{name}"

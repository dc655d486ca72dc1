"""What the settings refuse together, and what is told of them."""

import json
from pathlib import Path

import pytest
from pydantic import BaseModel, SecretStr, ValidationError

from server.settings import EVERY_HOST, Settings, load_settings, told_settings

EVERY_HOST_4, EVERY_HOST_6 = EVERY_HOST


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ATTENDANT_GRPC__PORT", raising=False)


@pytest.mark.parametrize(
    ("grpc", "metrics"),
    [
        ("127.0.0.1", "127.0.0.1"),
        (EVERY_HOST_4, "127.0.0.1"),
        ("127.0.0.1", EVERY_HOST_4),
        (EVERY_HOST_6, "10.0.0.1"),
    ],
)
def test_two_services_cannot_have_one_port(grpc, metrics):
    with pytest.raises(ValidationError, match=r"grpc\.port and telemetry\.metrics_port are both 9000"):
        Settings(
            grpc={"host": grpc, "port": 9000},
            telemetry={"metrics_host": metrics, "metrics_port": 9000},
        )


@pytest.mark.parametrize(("hosts", "port"), [(("127.0.0.1", "127.0.0.2"), 9000), (("127.0.0.1", "127.0.0.1"), 0)])
def test_one_port_on_two_addresses_or_any_free_one_is_fine(hosts, port):
    Settings(grpc={"host": hosts[0], "port": port}, telemetry={"metrics_host": hosts[1], "metrics_port": port})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_rows", 0),
        ("max_state_bytes", 1024),
        ("max_waiting", 0),
        ("prefill_tokens", 0),
        ("max_tokens", 0),
        ("stream_buffer", 0),
        ("max_pause_s", 0.0),
        ("turn_s", 1.5),
    ],
)
def test_generation_needs_room_for_one_row_one_token_and_one_increment(name, value):
    with pytest.raises(ValidationError, match=name):
        Settings(generation={name: value})


def test_generation_is_set_by_variables_and_flags(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ATTENDANT_GENERATION__MAX_ROWS", "8")
    monkeypatch.setenv("ATTENDANT_GENERATION__MAX_WAITING", "5")
    settings = load_settings(["--generation.max-rows", "16", "--generation.static", "true"])
    assert (settings.generation.max_rows, settings.generation.max_waiting, settings.generation.static) == (16, 5, True)


def test_every_setting_is_told_by_its_dotted_name():
    settings = Settings(
        batching={"max_queue_rows": 7, "enabled": False},
        store={"path": Path("a/b"), "models": ("m",), "version_policies": {"m": "all"}},
    )
    told = told_settings(settings)
    assert told.keys() == {
        f"{group}.{field}" for group, info in Settings.model_fields.items() for field in info.annotation.model_fields
    }
    assert (told["batching.max_queue_rows"], told["batching.enabled"]) == ("7", "false")
    assert (told["store.path"], told["store.control"]) == ("a/b", "poll")
    assert json.loads(told["store.models"]) == ["m"]
    assert json.loads(told["store.version_policies"]) == {"m": "all"}


def test_of_a_secret_only_whether_it_is_set_is_told():
    class Group(BaseModel):
        token: SecretStr = SecretStr("")
        tokens: tuple[SecretStr, ...] = ()

    class Tree(BaseModel):
        group: Group = Group()

    assert told_settings(Tree())["group.token"] == "unset"
    told = told_settings(Tree(group=Group(token=SecretStr("hidden"), tokens=(SecretStr("hidden"),))))
    assert told["group.token"] == "set"
    assert "hidden" not in str(told)

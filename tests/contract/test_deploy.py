"""The images, the compose file and the Prometheus configuration agree with the settings and with each other."""

import json
import re
import shlex
import tomllib
from pathlib import Path, PurePosixPath

import pytest
import yaml

from deploy.lock import LOCKS, PYTHON
from models.cli.run_folder import DEFAULT_STORE
from models.registry import CACHE
from server.settings import PREFIX, Settings

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
COMPOSE_TEXT = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
COMPOSE = yaml.safe_load(COMPOSE_TEXT)
PROMETHEUS = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text(encoding="utf-8"))
PAGE = (ROOT / "docs/deploy.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DEFAULTS = Settings.model_construct()
SETTINGS = {
    f"{PREFIX}{group}__{field}".upper(): getattr(getattr(DEFAULTS, group), field)
    for group, info in Settings.model_fields.items()
    for field in info.annotation.model_fields
}


SERVING = ["serve", "serve-openvino"]
IMAGES = [*SERVING, "train"]
PARENTS = {stage: parent for parent, stage in re.findall(r"^FROM (\S+) AS (\S+)$", DOCKERFILE, re.M)}
LONG_RUNNING = [name for name, options in COMPOSE["services"].items() if "profiles" not in options]


def instructions(stage: str) -> list[tuple[str, str]]:
    """The instructions that make a stage, those of the stages it comes from first, as (keyword, the rest)."""
    if stage not in PARENTS:
        return []
    own = re.search(rf"^FROM \S+ AS {stage}\n(.*?)(?=^FROM |\Z)", DOCKERFILE, re.M | re.S)
    lines = re.sub(r"^#.*\n", "", own.group(1), flags=re.M).replace("\\\n", " ").splitlines()
    return instructions(PARENTS[stage]) + [tuple(line.split(maxsplit=1)) for line in lines if line]


def values(stage: str, keyword: str) -> list[str]:
    return [rest for found, rest in instructions(stage) if found == keyword]


def environment(target: str) -> dict[str, str]:
    return dict(pair.split("=", 1) for rest in values(target, "ENV") for pair in shlex.split(rest))


def seconds(duration: str) -> float:
    return float(re.fullmatch(r"(\d+)s", duration).group(1))


def test_every_attendant_variable_names_a_setting():
    named = {
        name
        for text in (DOCKERFILE, COMPOSE_TEXT, PAGE, (ROOT / "deploy/healthcheck.py").read_text(encoding="utf-8"))
        for name in re.findall(rf"\b{PREFIX}[A-Z0-9_]+", text)
    }
    assert named
    assert named <= SETTINGS.keys()


def test_the_image_listens_on_all_interfaces_at_the_default_ports():
    set_by_image = environment("serve")
    assert set_by_image["ATTENDANT_GRPC__HOST"] == set_by_image["ATTENDANT_TELEMETRY__METRICS_HOST"] == "0.0.0.0"  # noqa: S104
    assert int(set_by_image["ATTENDANT_GRPC__PORT"]) == DEFAULTS.grpc.port
    assert int(set_by_image["ATTENDANT_TELEMETRY__METRICS_PORT"]) == DEFAULTS.telemetry.metrics_port


def test_the_image_exposes_the_ports_it_listens_on():
    (exposed,) = values("serve", "EXPOSE")
    assert exposed.split() == [str(DEFAULTS.grpc.port), str(DEFAULTS.telemetry.metrics_port)]


@pytest.mark.parametrize("target", IMAGES)
def test_no_image_runs_as_root(target):
    (user,) = values(target, "USER")
    uid, gid = map(int, user.split(":"))
    assert f"--uid {uid} " in DOCKERFILE
    assert f"--gid {gid} " in DOCKERFILE
    assert uid >= 10000


@pytest.mark.parametrize("target", SERVING)
def test_a_serving_image_has_nothing_of_the_training_side(target):
    copied = " ".join(values(target, "COPY"))
    installed = " ".join(values(f"{target}-environment", "RUN"))
    assert "models" not in copied
    assert "train" not in copied + installed
    assert "torch" not in installed


@pytest.mark.parametrize("target", IMAGES)
def test_an_image_carries_what_its_lock_file_says_and_a_list_of_it(target):
    assert target in {lock.name for lock in LOCKS}
    assert any(f"--require-hashes --requirement {target}.txt" in run for run in values(f"{target}-environment", "RUN"))
    copied = values(target, "COPY")
    assert f"--from={target}-environment /opt/venv /opt/venv" in copied
    assert any(rest.startswith(f"--from={target}-environment /build/sbom.json /usr/share/sbom/") for rest in copied)


@pytest.mark.parametrize(("target", "application"), [*((each, "server") for each in SERVING), ("train", "models")])
def test_an_image_carries_the_application_that_it_starts(target, application):
    (entry,) = values(target, "ENTRYPOINT")
    assert json.loads(entry) == ["python", "-m", application]
    assert f"{application}/ {application}/" in values(target, "COPY")


def test_what_training_writes_by_default_goes_into_the_volumes():
    folder = PurePosixPath(values("train", "WORKDIR")[-1])
    written = {str(folder / name) for name in (DEFAULT_STORE, CACHE.parts[0])}
    assert written == {volume.split(":")[1] for volume in COMPOSE["services"]["train"]["volumes"]}


def test_the_default_image_is_the_server():
    assert re.findall(r"^FROM \S+ AS (\S+)$", DOCKERFILE, re.M)[-1] == "serve"


def test_python_of_the_images_satisfies_the_project():
    (version,) = re.findall(r"^ARG PYTHON_IMAGE=python:(\d+\.\d+)-", DOCKERFILE, re.M)
    assert version == PYTHON
    lowest = re.fullmatch(r">=(\d+)\.(\d+)", PROJECT["requires-python"])
    assert tuple(map(int, version.split("."))) >= tuple(map(int, lowest.groups()))


def test_torch_of_the_images_is_the_one_that_the_project_is_tested_with():
    (version,) = re.findall(r"^ARG TORCH_VERSION=(\S+)$", DOCKERFILE, re.M)
    (tested,) = re.findall(r"^TORCH_VERSION \?= (\S+)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    assert version == tested


@pytest.mark.parametrize("target", IMAGES)
def test_the_version_label_is_the_project_s(target):
    assert f'org.opencontainers.image.version="{PROJECT["version"]}"' in " ".join(values(target, "LABEL"))


def test_the_builder_of_any_docker_builds_the_file():
    assert "# syntax=" not in DOCKERFILE
    assert "<<" not in DOCKERFILE


def test_everything_that_is_copied_is_in_the_build_context():
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    sources = {
        source.rstrip("/")
        for stage in PARENTS
        for rest in values(stage, "COPY")
        if not rest.startswith("--from")
        for source in rest.split()[:-1]
    }
    assert all((ROOT / source).exists() for source in sources)
    assert {source for source in sources if source not in let_in and str(Path(source).parent) not in let_in} == set()
    assert {path for path in let_in - {"deploy"} if not any(source.startswith(path) for source in sources)} == set()


def test_compose_checks_health_as_the_image_does():
    (check,) = values("serve", "HEALTHCHECK")
    options, command = check.split(" CMD ")
    compose = COMPOSE["services"]["server"]["healthcheck"]
    assert ["CMD", *json.loads(command)] == compose["test"]
    for option, value in re.findall(r"--(\S+)=(\S+)", options):
        assert str(compose[option.replace("-", "_")]) == value


def test_a_stop_waits_longer_than_the_server_drains():
    assert seconds(COMPOSE["services"]["server"]["stop_grace_period"]) > DEFAULTS.grpc.drain_grace_s


def test_compose_satisfies_its_first_and_its_second_version():
    assert not COMPOSE.keys() & {"name", "version"}


@pytest.mark.parametrize("service", LONG_RUNNING)
def test_a_service_can_change_nothing_and_take_no_more_than_its_share(service):
    options = COMPOSE["services"][service]
    assert options["read_only"] is True
    assert options["cap_drop"] == ["ALL"]
    assert options["security_opt"] == ["no-new-privileges:true"]
    assert options.keys() >= {"cpus", "mem_limit", "pids_limit"}
    assert all(volume.endswith(":ro") or volume.startswith(f"{service}:") for volume in options["volumes"])


@pytest.mark.parametrize("service", LONG_RUNNING)
def test_a_service_is_started_when_what_it_needs_is_healthy(service):
    options = COMPOSE["services"][service]
    assert options["healthcheck"]["test"][0] == "CMD"
    assert {needed["condition"] for needed in options.get("depends_on", {}).values()} <= {"service_healthy"}


@pytest.mark.parametrize("service", COMPOSE["services"])
def test_ports_are_published_on_this_machine_only(service):
    options = COMPOSE["services"][service]
    assert "container_name" not in options
    for port in options.get("ports", []):
        assert re.fullmatch(r"127\.0\.0\.1:\$\{[A-Z]+_PORT:-(\d+)\}:\1", port)
        assert not port.endswith(f":{DEFAULTS.telemetry.metrics_port}")


def test_a_server_can_be_scaled_because_it_publishes_nothing():
    server = COMPOSE["services"]["server"]
    assert "ports" not in server
    assert server["networks"] == ["inside"]
    assert COMPOSE["networks"]["inside"]["internal"] is True


@pytest.mark.parametrize("service", COMPOSE["services"])
def test_an_image_from_elsewhere_is_named_with_its_version(service):
    options = COMPOSE["services"][service]
    assert "build" in options or re.fullmatch(r"[a-z/]+:v?\d+\.\d+\.\d+", options["image"])


def test_no_secret_stands_in_the_compose_file():
    named = {
        name: value
        for options in COMPOSE["services"].values()
        for name, value in options.get("environment", {}).items()
        if re.search("PASSWORD|SECRET|TOKEN|KEY", name)
    }
    assert named
    assert all(re.fullmatch(r"\$\{[A-Z_]+:-\}", value) for value in named.values())


def test_the_store_is_written_by_training_and_read_by_the_server():
    store = environment("serve")["ATTENDANT_STORE__PATH"]
    assert f"store:{store}:ro" in COMPOSE["services"]["server"]["volumes"]
    assert f"store:{store}" in COMPOSE["services"]["train"]["volumes"]
    assert f"--store {store}" in " ".join(COMPOSE["services"]["train"]["command"])


def test_prometheus_scrapes_every_replica_at_the_metrics_port():
    (job,) = (job for job in PROMETHEUS["scrape_configs"] if job["job_name"] == "attendant")
    (discovery,) = job["dns_sd_configs"]
    assert discovery["type"] == "A"
    assert discovery["port"] == DEFAULTS.telemetry.metrics_port
    (service,) = discovery["names"]
    assert service in COMPOSE["services"]


def test_every_file_that_compose_mounts_is_there():
    mounted = {
        volume.split(":")[0]
        for options in COMPOSE["services"].values()
        for volume in options["volumes"]
        if volume.startswith(".")
    }
    assert mounted
    assert all((ROOT / path).exists() for path in mounted)

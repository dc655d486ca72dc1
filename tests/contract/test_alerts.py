"""The alert rules: sound by promtool, proved by their own tests, explained by the runbook, and true to the server."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from attendant.v1 import attendant_service_pb2

from deploy.grafana.promql import NOT_INFERENCE, REFUSALS, SERVER_FAULTS
from deploy.grafana.traffic import OBJECTIVE_S, QUEUE_LIMIT
from deploy.prometheus.expressions import metric_names
from server.errors import ServeError
from server.wire.grpc_service_pb2 import DESCRIPTOR

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "prometheus"
RULES_TEXT = (FOLDER / "alerts.yml").read_text(encoding="utf-8")
RULES = [rule for group in yaml.safe_load(RULES_TEXT)["groups"] for rule in group["rules"]]
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}
TESTS = yaml.safe_load((FOLDER / "alerts_test.yml").read_text(encoding="utf-8"))["tests"]
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
METRICS_PAGE = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")

needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")


def complaints(*arguments: str) -> str:
    """What promtool says where it is not content."""
    done = subprocess.run(["promtool", *arguments], cwd=FOLDER, capture_output=True, text=True)
    return "" if done.returncode == 0 else f"exit {done.returncode}: {done.stdout}{done.stderr}"


@needs_promtool
def test_the_configuration_is_sound():
    assert complaints("check", "config", "prometheus.yml") == ""


@needs_promtool
def test_the_rules_are_sound():
    assert complaints("check", "rules", "alerts.yml") == ""


@needs_promtool
def test_each_rule_does_what_its_test_says():
    assert complaints("test", "rules", "alerts_test.yml") == ""


def test_the_configuration_names_the_rules():
    configuration = yaml.safe_load((FOLDER / "prometheus.yml").read_text(encoding="utf-8"))
    assert configuration["rule_files"] == ["alerts.yml"]


@pytest.mark.parametrize("name", ALERTS)
def test_each_alert_is_seen_to_fire(name):
    checks = [check for test in TESTS for check in test.get("alert_rule_test", ()) if check["alertname"] == name]
    assert any(check.get("exp_alerts") for check in checks)


@pytest.mark.parametrize("name", ALERTS)
def test_each_alert_is_seen_to_stay_silent(name):
    checks = [check for test in TESTS for check in test.get("alert_rule_test", ()) if check["alertname"] == name]
    assert any(not check.get("exp_alerts") for check in checks) or len(series_of(name)) > 1


def series_of(name: str) -> set[str]:
    """The series of the tests in which an alert fires: with several, that for one of them is silence for the others."""
    return {
        series["series"]
        for test in TESTS
        for check in test.get("alert_rule_test", ())
        if check["alertname"] == name
        for series in test["input_series"]
    }


@pytest.mark.parametrize("name", ALERTS)
def test_each_alert_says_how_bad_it_is_and_what_it_means(name):
    alert = ALERTS[name]
    assert alert["labels"]["severity"] in ("critical", "warning")
    assert alert["annotations"].keys() == {"summary", "description", "runbook_url"}
    assert name.startswith("Attendant")


def headings() -> list[str]:
    return re.findall(r"^## (Attendant\w+)$", RUNBOOK, re.M)


@pytest.mark.parametrize("name", ALERTS)
def test_each_alert_links_its_heading_of_the_runbook(name):
    assert ALERTS[name]["annotations"]["runbook_url"] == f"docs/runbook.md#{name.lower()}"
    assert name in headings()


def test_each_heading_of_the_runbook_has_its_alert():
    assert sorted(headings()) == sorted(ALERTS)


@pytest.mark.parametrize("name", ALERTS)
def test_each_heading_answers_the_five_questions(name):
    section = re.search(rf"^## {name}\n(.*?)(?=^## |\Z)", RUNBOOK, re.M | re.S).group(1)
    told = re.findall(r"^\*\*(.+?)\.\*\*", section, re.M)
    assert told == ["Means", "Users feel", "Find the cause", "Do", "Harmless when"]
    assert f"({ALERTS[name]['labels']['severity']})" in section


def test_metrics_of_the_rules_are_scraped():
    recorded = {rule["record"] for rule in RULES if "record" in rule}
    asked = {name for rule in RULES for name in metric_names(rule["expr"])} - recorded
    own = {re.sub(r"_bucket$", "", name) for name in asked if not name.startswith("envoy_")} - {"up"}
    assert own
    for name in own:
        assert f"| `{name}` |" in METRICS_PAGE


def test_rules_leave_out_the_calls_that_ask_nothing_of_a_model():
    (left_out,) = set(re.findall(r'method!~"([^"]*)"', RULES_TEXT))
    assert left_out == NOT_INFERENCE


def test_every_call_to_a_model_counts_and_no_other():
    methods = {method.name for service in DESCRIPTOR.services_by_name.values() for method in service.methods}
    ours = {m.name for s in attendant_service_pb2.DESCRIPTOR.services_by_name.values() for m in s.methods}
    questions = methods - {"ModelInfer", "ModelStreamInfer"} | {"Check", "Watch", "ServerReflectionInfo"}
    assert all(re.fullmatch(NOT_INFERENCE, method) for method in questions)
    assert not any(re.fullmatch(NOT_INFERENCE, method) for method in ours | {"ModelInfer", "ModelStreamInfer"})


def reasons(of: type[ServeError] = ServeError) -> set[str]:
    return {getattr(of, "reason", "")}.union(*(reasons(one) for one in of.__subclasses__()))


def test_reasons_that_rules_and_dashboards_name_exist():
    named = set(re.findall(r'reason=~"([^"]*)"', RULES_TEXT)) | {SERVER_FAULTS, REFUSALS}
    assert {reason for pattern in named for reason in pattern.split("|")} <= reasons() | {"UNEXPECTED"}
    assert f'reason=~"{SERVER_FAULTS}"' in RULES_TEXT


def test_dashboards_draw_the_limits_of_the_alerts():
    assert ALERTS["AttendantLatencyHigh"]["expr"].strip().endswith(f"> {OBJECTIVE_S:g}")
    assert ALERTS["AttendantQueueNearlyFull"]["expr"].endswith(f"> {QUEUE_LIMIT:g}")

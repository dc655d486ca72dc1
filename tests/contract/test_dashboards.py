"""The dashboards: written by their code, sound by promtool, readable, and true to the metrics."""

import json
import re
import shutil
import subprocess
from itertools import combinations
from pathlib import Path

import pytest
import yaml
from grafana_foundation_sdk.models.dashboard import Dashboard

from deploy.grafana.__main__ import FOLDER, generated, stale
from deploy.grafana.panels import SOURCE
from deploy.prometheus.expressions import expressions, metric_names

ROOT = Path(__file__).parents[2]
PROVISIONING = ROOT / "deploy" / "grafana" / "provisioning"
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
METRICS_PAGE = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
METRIC_SUFFIX = re.compile(r"_(bucket|sum|count)$")
DASHBOARDS = {path.name: json.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.json"))}
PANELS = [
    pytest.param(panel, id=f"{name}: {panel['title']}")
    for name, dashboard in DASHBOARDS.items()
    for panel in dashboard["panels"]
    if panel["type"] != "row"
]


def test_the_files_are_what_the_code_writes():
    assert stale() == []


def test_the_same_code_writes_the_same_text():
    assert generated() == generated()


@pytest.mark.parametrize("name", DASHBOARDS)
def test_the_model_of_grafana_reads_a_dashboard_back(name):
    dashboard = Dashboard.from_json(DASHBOARDS[name])
    assert dashboard.uid == DASHBOARDS[name]["uid"]
    assert len(dashboard.panels) == len(DASHBOARDS[name]["panels"])


@pytest.mark.parametrize("name", DASHBOARDS)
def test_a_dashboard_can_be_narrowed_to_a_model_a_version_and_an_instance(name):
    variables = {one["name"]: one for one in DASHBOARDS[name]["templating"]["list"]}
    assert list(variables) == ["datasource", "model", "version", "instance"]
    text = json.dumps(DASHBOARDS[name])
    assert all(f"${variable}" in text or f"${{{variable}}}" in text for variable in variables)


@pytest.mark.parametrize("name", DASHBOARDS)
def test_panels_have_a_number_of_their_own_and_do_not_overlap(name):
    panels = DASHBOARDS[name]["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = [panel["gridPos"] for panel in panels]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    assert not any(overlap(one, other) for one, other in combinations(places, 2))


def overlap(one: dict[str, int], other: dict[str, int]) -> bool:
    def beside(start: str, size: str) -> bool:
        return one[start] + one[size] <= other[start] or other[start] + other[size] <= one[start]

    return not (beside("x", "w") or beside("y", "h"))


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_says_what_it_shows_in_which_unit_and_what_to_do(panel):
    assert panel["title"]
    assert len(panel["description"]) > 40
    assert panel["type"] == "table" or panel["fieldConfig"]["defaults"]["unit"]


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_asks_the_chosen_data_source(panel):
    assert panel["datasource"]["uid"] == SOURCE.uid
    assert panel["targets"]
    assert all(target["expr"] and target["datasource"]["uid"] == SOURCE.uid for target in panel["targets"])


@pytest.mark.parametrize("panel", PANELS)
def test_lines_are_named_by_labels_that_their_expression_keeps(panel):
    for target in panel["targets"]:
        kept = " ".join(re.findall(r"by \(([^)]*)\)", target["expr"]))
        aggregated = re.search(r"\b(sum|max|count|histogram_quantile)\b", target["expr"])
        for label in re.findall(r"\{\{(\w+)\}\}", target.get("legendFormat", "")):
            assert not aggregated or label in kept


def test_metrics_of_the_panels_are_documented():
    asked = {name for where, expression, _ in expressions() if "panel" in where for name in metric_names(expression)}
    own = {METRIC_SUFFIX.sub("", name) for name in asked if not name.startswith("envoy_")} - {"ALERTS"}
    assert own
    for name in own:
        assert f"| `{name}` |" in METRICS_PAGE


def test_variables_of_grafana_are_filled_in():
    assert not [expression for _, expression, _ in expressions() if re.search(r"\$(?!labels|value)", expression)]


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_every_expression_is_sound(tmp_path):
    rules = [{"record": f"expression:{number}", "expr": one.expression} for number, one in enumerate(expressions())]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": rules}]}))
    done = subprocess.run(["promtool", "check", "rules", file], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_provisioning_gives_the_data_source_that_prometheus_is():
    prometheus = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text(encoding="utf-8"))
    (source,) = yaml.safe_load((PROVISIONING / "datasources" / "prometheus.yml").read_text())["datasources"]
    service, port = re.fullmatch(r"http://(\w+):(\d+)", source["url"]).groups()
    assert any(published.endswith(f":{port}") for published in COMPOSE["services"][service]["ports"])
    assert source["type"] == SOURCE.type_val
    assert source["jsonData"]["timeInterval"] == prometheus["global"]["scrape_interval"]


def test_provisioning_reads_the_dashboards_where_compose_mounts_them():
    (provider,) = yaml.safe_load((PROVISIONING / "dashboards" / "attendant.yml").read_text())["providers"]
    mounted = COMPOSE["services"]["grafana"]["volumes"]
    assert f"./deploy/grafana/dashboards:{provider['options']['path']}:ro" in mounted
    assert "./deploy/grafana/provisioning:/etc/grafana/provisioning:ro" in mounted


def test_the_rules_lie_beside_the_configuration_that_prometheus_reads():
    assert "./deploy/prometheus:/etc/prometheus:ro" in COMPOSE["services"]["prometheus"]["volumes"]


def test_provisioning_cannot_be_edited_away():
    (provider,) = yaml.safe_load((PROVISIONING / "dashboards" / "attendant.yml").read_text())["providers"]
    assert provider["type"] == "file"
    assert provider["allowUiUpdates"] is False

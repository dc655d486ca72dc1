"""Every expression that is shipped, and whether a running Prometheus has an answer to it.

    python -m deploy.prometheus.expressions http://127.0.0.1:9090

prints what is missing and exits with 1 if anything is. A panel must return series. An alert rightly returns none while
all is well: the series that it selects from must be there instead, and every metric must be one that is scraped.
"""

import argparse
import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode
from urllib.request import urlopen

import yaml

DEPLOY = Path(__file__).parents[1]
RULES = DEPLOY / "prometheus" / "alerts.yml"
DASHBOARDS = DEPLOY / "grafana" / "dashboards"

TIMEOUT_S = 30.0

VARIABLES = {"$__rate_interval": "1m", "$model": ".*", "$version": ".*", "$instance": ".*"}
"""What Grafana would put in the place of its variables, with all models, versions and instances chosen."""

EVENTS = ("reason", "state")
"""Labels whose values appear when something happens; a service to which nothing has happened has no such series."""
EVENT_SUFFIX = "_failures_total"
"""Ends the metrics that have no series at all before something happens."""

_SELECTOR = re.compile(r"\b((?:attendant|nv_inference|process|envoy)_\w+|up|ALERTS|\w+:\w+:\w+)\b(\{[^}]*\})?")
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring) \([^)]*\)")
_MATCHER = re.compile(r'(\w+)(=~|!~|!=|=)"([^"]*)"')
_VARIABLE_QUERY = re.compile(r"label_values\((.+), \w+\)")
_FAMILY_SUFFIXES = ("", "_total", "_bucket", "_sum", "_count")


class Expression(NamedTuple):
    """An expression with Grafana's variables filled in."""

    where: str
    """The dashboard and panel, or the rule, that it stands in."""
    expression: str
    alert: bool = False
    """Whether no answer is the good one."""


def expressions() -> list[Expression]:
    """Those of every panel and variable of the dashboards, of every recording rule and of every alert."""
    found = [
        expression
        for path in sorted(DASHBOARDS.glob("*.json"))
        for expression in _of_dashboard(json.loads(path.read_text()))
    ]
    for group in yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]:
        for rule in group["rules"]:
            found.append(Expression(rule.get("alert") or rule["record"], rule["expr"], "alert" in rule))
    return found


def selectors(expression: str) -> list[str]:
    """The metrics of an expression, each with its matchers."""
    return sorted({f"{name}{matchers}" for name, matchers in _SELECTOR.findall(_GROUPING.sub("", expression))})


def metric_names(expression: str) -> set[str]:
    """The metrics of an expression, without their matchers."""
    return {selector.partition("{")[0] for selector in selectors(expression)}


def missing(prometheus_url: str, *, without: Sequence[str] = (), strict: bool = False) -> list[str]:
    """What a running Prometheus cannot answer, as lines to print; empty where all is there.

    Requests of every model, some with attention, must have gone on for a minute before. `strict` demands in addition
    that what alerts wait for has happened: failures, and matchers on `reason` and `state`, count too. `without` leaves
    out the panels with a metric that begins so, such as `envoy_`, and such metrics in alerts.

    Raises OSError where Prometheus cannot be reached.
    """
    known = _known_metrics(prometheus_url)
    problems = []
    for where, expression, alert in expressions():
        names = metric_names(expression)
        left_out = {name for name in names if name.startswith(tuple(without))}
        if left_out and not alert:
            continue
        problems += [f"{where}: no metric {name}" for name in sorted(names - known - left_out)]
        if alert:
            problems += _without_series(prometheus_url, where, expression, strict, without)
        elif not _has_number(_query(prometheus_url, expression)):
            problems.append(f"{where}: no series for {expression}")
    return problems


def _of_dashboard(dashboard: dict[str, Any]) -> Iterator[Expression]:
    for variable in dashboard["templating"]["list"]:
        query = _VARIABLE_QUERY.fullmatch(str(variable["query"]))
        if query:
            yield Expression(f"{dashboard['title']}, variable {variable['name']}", _filled_in(query[1]))
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            yield Expression(f"{dashboard['title']}, panel {panel['title']}", _filled_in(target["expr"]))


def _filled_in(expression: str) -> str:
    for variable, value in VARIABLES.items():
        expression = expression.replace(variable, value)
    return expression


def _without_series(url: str, where: str, expression: str, strict: bool, without: Sequence[str]) -> Iterator[str]:
    """Evaluates an alert, and looks for the series that it selects from."""
    _query(url, expression)
    for selector in selectors(expression):
        if selector.startswith(tuple(without)):
            continue
        wanted = selector if strict else _of_any_event(selector)
        if wanted and not _query(url, wanted):
            yield f"{where}: no series for {wanted}"


def _of_any_event(selector: str) -> str:
    """The selector without matchers on what only an event makes; empty where nothing is left to ask for."""
    name, _, matchers = selector.partition("{")
    if name.endswith(EVENT_SUFFIX):
        return ""
    kept = [f'{label}{sign}"{value}"' for label, sign, value in _MATCHER.findall(matchers) if label not in EVENTS]
    return f"{name}{{{', '.join(kept)}}}"


def _has_number(series: list[dict[str, Any]]) -> bool:
    """Whether a series has a value; a quantile or a share of nothing is NaN."""
    return any(one["value"][1] != "NaN" for one in series)


def _known_metrics(url: str) -> set[str]:
    """All that are scraped or recorded; a family without a sample so far is known by its type."""
    families = _get(url, "metadata")
    exposed = {family + suffix for family in families for suffix in _FAMILY_SUFFIXES}
    return exposed | set(_get(url, "label/__name__/values")) | {"ALERTS"}


def _query(url: str, expression: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = _get(url, "query", query=expression)["result"]
    return found


def _get(url: str, path: str, **parameters: str) -> Any:
    address = f"{url.rstrip('/')}/api/v1/{path}?{urlencode(parameters)}"
    with urlopen(address, timeout=TIMEOUT_S) as reply:  # noqa: S310, the operator's own address
        return json.load(reply)["data"]


def main() -> int:
    """Prints what is missing; the exit code is 1 if anything is."""
    parser = argparse.ArgumentParser(prog="python -m deploy.prometheus.expressions", description=__doc__)
    parser.add_argument("url", help="the Prometheus to ask, such as http://127.0.0.1:9090")
    parser.add_argument("--strict", action="store_true", help="what alerts wait for must have happened")
    parser.add_argument("--without", nargs="*", default=(), metavar="PREFIX", help="leave these metrics out")
    arguments = parser.parse_args()
    problems = missing(arguments.url, without=arguments.without, strict=arguments.strict)
    for problem in problems:
        print(problem)
    if not problems:
        print(f"all {len(expressions())} expressions have an answer")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())

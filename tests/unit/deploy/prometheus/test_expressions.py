from deploy.prometheus import expressions as module
from deploy.prometheus.expressions import expressions, metric_names, selectors


def test_selectors_are_metrics_with_their_matchers_and_no_labels_or_functions():
    expression = (
        'sum by (le, envoy_cluster_name) (rate(attendant_a_bucket{model=~".*", reason!="OK"}[1m])) '
        "/ on (instance) (up or envoy_b offset 5m) > m:n:increase5m"
    )
    assert selectors(expression) == [
        'attendant_a_bucket{model=~".*", reason!="OK"}',
        "envoy_b",
        "m:n:increase5m",
        "up",
    ]
    assert metric_names(expression) == {"attendant_a_bucket", "envoy_b", "m:n:increase5m", "up"}


def test_what_only_an_event_makes_is_not_asked_for():
    assert module._of_any_event('up{job="envoy", reason=~"A|B"}') == 'up{job="envoy"}'
    assert module._of_any_event("up") == "up{}"
    assert module._of_any_event("attendant_model_load_failures_total") == ""


def test_every_panel_every_rule_and_every_variable_is_among_the_expressions():
    where = {expression.where for expression in expressions()}
    assert "AttendantErrorRate" in where
    assert "model_reason:attendant_requests:increase5m" in where
    assert "Attendant / Overview, variable model" in where
    assert "Attendant / Model, panel Requests by version" in where


def test_only_alerts_may_rightly_have_no_answer():
    assert all(expression.where.startswith("Attendant") for expression in expressions() if expression.alert)
    assert not any(" / " in expression.where for expression in expressions() if expression.alert)

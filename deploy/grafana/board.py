"""What all dashboards share: variables, links, rows, and their text as JSON."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as models

from deploy.grafana.panels import SOURCE, PanelBuilder

TAG = "attendant"


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under one heading."""

    title: str
    panels: Sequence[PanelBuilder]


def board(
    uid: str,
    title: str,
    description: str,
    rows: Sequence[Row],
    *,
    one_model: bool = False,
    models_of: str = "attendant_model_state",
) -> str:
    """A dashboard as JSON, the same text for the same content.

    `one_model` lets one model be chosen at a time; those that can be chosen are the ones with a series of `models_of`.
    """
    found = (
        dashboard.Dashboard(title)
        .uid(uid)
        .description(description)
        .tags([TAG])
        .refresh("10s")
        .time("now-1h", "now")
        .timezone("browser")
        .readonly()
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .link(
            dashboard.DashboardLink("Attendant")
            .type(models.DashboardLinkType.DASHBOARDS)
            .tags([TAG])
            .include_vars(True)
            .keep_time(True)
        )
        .with_variable(dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"))
        .with_variable(_choice("model", "Model", f"label_values({models_of}, model)", several=not one_model))
        .with_variable(_choice("version", "Version", f'label_values({models_of}{{model=~"$model"}}, version)'))
        .with_variable(_choice("instance", "Instance", "label_values(attendant_ready, instance)"))
    )
    for row in rows:
        found.with_row(dashboard.Row(row.title))
        for panel in row.panels:
            found.with_panel(panel)
    return _text(found.build())


def _choice(name: str, label: str, query: str, *, several: bool = True) -> dashboard.QueryVariable:
    variable = (
        dashboard.QueryVariable(name)
        .label(label)
        .datasource(SOURCE)
        .query(query)
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.NATURAL_ASC)
    )
    if several:
        everything = models.VariableOption(selected=True, text="All", value="$__all")
        variable.multi(True).include_all(True).all_value(".*").current(everything)
    return variable


def _text(found: models.Dashboard) -> str:
    for number, panel in enumerate(found.panels or [], start=1):
        panel.id_val = number
    return json.dumps(found, cls=JSONEncoder, indent=2, sort_keys=True) + "\n"

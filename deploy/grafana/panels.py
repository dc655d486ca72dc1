"""The three kinds of panels, each with a unit and a description that says what to do when it looks bad."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, table, timeseries
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import common as options
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

PanelBuilder = Builder[models.Panel]

SOURCE = models.DataSourceRef(type_val="prometheus", uid="${datasource}")
"""The data source that the dashboard's variable names."""

HEIGHT = 8
FIGURE_HEIGHT = 4
GREEN, ORANGE, RED = "green", "orange", "red"


@dataclass(frozen=True, slots=True)
class Line:
    """One expression of a graph and the name of its series, with Grafana's `{{label}}` in it."""

    expression: str
    legend: str


def graph(
    title: str,
    description: str,
    unit: str,
    lines: Sequence[Line],
    *,
    width: int = 8,
    limit: float | None = None,
    highest: float | None = None,
    stacked: bool = False,
) -> PanelBuilder:
    """Lines over time; `limit` draws where it begins to be bad, `highest` ends the axis."""
    panel = (
        timeseries.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .unit(unit)
        .min(0)
        .span(width)
        .height(HEIGHT)
        .line_width(1)
        .fill_opacity(30 if stacked else 8)
        .show_points(options.VisibilityMode.NEVER)
        .legend(
            common.VizLegendOptions()
            .display_mode(options.LegendDisplayMode.LIST)
            .placement(options.LegendPlacement.BOTTOM)
            .show_legend(True)
            .calcs([])
        )
        .tooltip(common.VizTooltipOptions().mode(options.TooltipDisplayMode.MULTI).sort(options.SortOrder.DESCENDING))
    )
    if stacked:
        panel.stacking(common.StackingConfig().mode(options.StackingMode.NORMAL).group("A"))
    if highest is not None:
        panel.max(highest)
    if limit is not None:
        panel.thresholds(_steps((None, GREEN), (limit, RED)))
        panel.thresholds_style(common.GraphThresholdsStyleConfig().mode(options.GraphThresholdsStyleMode.DASHED))
    for letter, line in zip(ascii_uppercase, lines, strict=False):
        panel.with_target(_query(line.expression, letter).range().legend_format(line.legend))
    return panel


def figure(
    title: str, description: str, unit: str, expression: str, *steps: tuple[float | None, str], width: int = 3
) -> PanelBuilder:
    """One number, coloured by the last of `steps` that it reaches; the first step begins at None."""
    return (
        stat.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .unit(unit)
        .span(width)
        .height(FIGURE_HEIGHT)
        .thresholds(_steps(*(steps or ((None, GREEN),))))
        .graph_mode(options.BigValueGraphMode.AREA)
        .color_mode(options.BigValueColorMode.VALUE)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(False))
        .with_target(_query(expression, "A").range())
    )


def rows_now(
    title: str, description: str, expression: str, columns: Mapping[str, str], *, width: int = 8
) -> PanelBuilder:
    """A table of the series as they are now; `columns` gives each label that is shown its heading."""
    heading = {"renameByName": dict(columns), "indexByName": {name: place for place, name in enumerate(columns)}}
    return (
        table.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .span(width)
        .height(HEIGHT)
        .with_transformation(
            models.DataTransformerConfig(id_val="filterFieldsByName", options={"include": {"names": list(columns)}})
        )
        .with_transformation(models.DataTransformerConfig(id_val="organize", options={"excludeByName": {}, **heading}))
        .with_target(_query(expression, "A").instant().format(PromQueryFormat.TABLE))
    )


def _query(expression: str, letter: str) -> prometheus.Dataquery:
    return prometheus.Dataquery().datasource(SOURCE).expr(expression).ref_id(letter)


def _steps(*steps: tuple[float | None, str]) -> dashboard.ThresholdsConfig:
    found = [models.Threshold(value=value, color=color) for value, color in steps]
    return dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(found)

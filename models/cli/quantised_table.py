"""The graphs of a bundle in int8 beside those in fp32 that they were made from, as a table."""

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from server.manifest import GraphSpec, QuantisationReport

_KIB = 1024
_LAYOUTS = {"rows": "padded rows", "block-diagonal": "block-diagonal", "gathered": "gathered"}


def show_quantised(graphs: Sequence[GraphSpec]) -> None:
    """Prints a line for each graph that has a quantisation report, below one for its source; nothing for no graph."""
    quantised = [(graph, graph.quantisation) for graph in graphs if graph.quantisation is not None]
    if not quantised:
        return
    table = Table(
        title="int8 against fp32, through the codec and the session that serve",
        title_justify="left",
        box=box.SIMPLE_HEAD,
    )
    for heading in ("graph", "precision", "KiB", "max error", "cosine", "quality", "drop"):
        table.add_column(heading, justify="left" if heading in ("graph", "precision") else "right", no_wrap=True)
    for graph, report in quantised:
        quality = report.quality
        table.add_row(
            _LAYOUTS[graph.layout] if graph.role == "run" else f"{graph.role}, maps" if graph.maps else graph.role,
            "fp32",
            f"{report.source_bytes / _KIB:,.0f}",
            "",
            "",
            "none" if quality is None else f"{quality.source_value:.4f}",
        )
        table.add_row(
            "",
            graph.precision,
            f"{report.bytes / _KIB:,.0f}",
            f"{max(report.max_error, report.batched_equals_alone_max_error):.2e}",
            f"{report.min_cosine:.4f}",
            "none" if quality is None else f"{quality.value:.4f}",
            _drop(report),
        )
    console = Console()
    console.print(table)
    measured = next((report.quality for _, report in quantised if report.quality is not None), None)
    if measured is not None:
        console.print(
            f"quality: {measured.metric} on {measured.examples:,} held-out examples; "
            f"a drop of {measured.largest_drop:.4f} is allowed",
            highlight=False,
        )


def _drop(report: QuantisationReport) -> str:
    if report.quality is None:
        return ""
    colour = "red" if report.quality.excessive else "green"
    return f"[{colour}]{report.quality.drop:.4f}[/{colour}]"

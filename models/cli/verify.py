"""`python -m models verify`: PyTorch against ONNX Runtime, and batched against alone."""

import typer
from rich.console import Console
from rich.table import Table

from models.cli import app
from models.cli.quantised_table import show_quantised
from models.cli.run_folder import ModelArgument, RunOption, bundle_of, load_run, one_line_errors
from models.export.bundle import read_candidate
from models.export.failure import ParityFailed
from models.export.report import is_invariant
from models.export.verify import verify_candidate
from server.manifest import PackedParity, ParityReport


@app.command()
def verify(model: ModelArgument, run: RunOption = None) -> None:
    """Verifies a candidate bundle against the network that it was exported from."""
    with one_line_errors():
        bundle = bundle_of(model, run)
        try:
            report = verify_candidate(load_run(model, run), bundle)
        except ParityFailed as error:
            show(error.report)
            raise
    show(report)
    show_quantised(read_candidate(bundle).graphs)
    if is_invariant(report):
        typer.echo(f"verified {model}: {bundle} may be published")
    else:
        typer.echo(f"verified {model}: {bundle} may be published; its rows depend on their batch and are served alone")


def show(report: ParityReport) -> None:
    """Prints a parity report as a table, one line for each comparison."""
    table = Table(title=f"PyTorch against ONNX Runtime, tolerance {report.tolerance:.0e}", title_justify="left")
    for heading in ("", "max error", "mean error", ""):
        table.add_column(heading, justify="right" if heading else "left")
    for parity in report.outputs:
        verdict = _verdict(parity.max_error, report)
        table.add_row(parity.output, f"{parity.max_error:.2e}", f"{parity.mean_error:.2e}", verdict)
    for packed in report.packed:
        for parity in packed.outputs:
            verdict = _verdict(parity.max_error, packed)
            name = f"{parity.output}, {packed.file}"
            table.add_row(name, f"{parity.max_error:.2e}", f"{parity.mean_error:.2e}", verdict)
    alone = report.batched_equals_alone_max_error
    table.add_row("batched and padded against alone", f"{alone:.2e}", "", _verdict(alone, report))
    console = Console()
    console.print(table)
    console.print(f"batch sizes {_listed(report.batch_sizes)}", end="")
    console.print(f"; lengths {_listed(report.lengths)}" if report.lengths else "")


def _verdict(error: float, report: ParityReport | PackedParity) -> str:
    return "[green]within[/green]" if error <= report.tolerance else "[red]over[/red]"


def _listed(numbers: tuple[int, ...]) -> str:
    return ", ".join(map(str, numbers))

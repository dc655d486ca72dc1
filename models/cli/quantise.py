"""`python -m models quantise`: int8 graphs for a candidate bundle, and what they lose."""

from collections.abc import Callable
from functools import partial
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from models.cli import app
from models.cli.quantised_table import show_quantised
from models.cli.run_folder import ModelArgument, RunOption, bundle_of, load_run, one_line_errors
from models.export.bundle import read_candidate
from models.export.failure import QuantisationRefused
from server.manifest import Manifest


@app.command()
def quantise(
    model: ModelArgument,
    run: RunOption = None,
    largest_drop: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="How much held-out quality int8 may lose, absolute.")
    ] = 0.01,
    without_quality: Annotated[
        bool, typer.Option("--without-quality", help="State the error to fp32 alone, where no quality can be measured.")
    ] = False,
    by_default: Annotated[
        bool, typer.Option("--by-default", help="Answer in int8 unless a setting or a request says otherwise.")
    ] = False,
) -> None:
    """Adds int8 graphs to an exported bundle, unless they lose too much; verify it afterwards.

    What they lose is measured on the data that the training held out.
    """
    # the quantiser takes a second to import: not for `--help`
    from models.export.quantise_candidate import quantise_candidate, steps

    with one_line_errors():
        bundle = bundle_of(model, run)
        try:
            manifest = _with_bar(
                partial(
                    quantise_candidate,
                    load_run(model, run),
                    bundle,
                    largest_drop=largest_drop,
                    without_quality=without_quality,
                    by_default=by_default,
                ),
                steps(read_candidate(bundle)),
            )
        except QuantisationRefused as error:
            show_quantised(error.measured)
            raise
    show_quantised(manifest.graphs)
    typer.echo(f"quantised {model}: {bundle} may be verified, with `python -m models verify {model}`")


def _with_bar(quantised: Callable[..., Manifest], total: int) -> Manifest:
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("starting", total=total, completed=-1)  # the first step begins at 0
        return quantised(progress=lambda step: bar.update(task, description=step, advance=1))

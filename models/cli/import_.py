"""`python -m models import`: an encoder-decoder that Hugging Face tools exported becomes a version in the store."""

import re
from pathlib import Path
from typing import Annotated

import typer

from models.cli import app
from models.cli.alias import move
from models.cli.run_folder import DEFAULT_STORE, RunOption, StoreOption, bundle_of, check_alias, one_line_errors
from models.export.publish import publish as publish_bundle
from models.export.report import is_invariant
from server.manifest import MODEL_NAME_PATTERN, ParityReport, Task

DEFAULT_TOLERANCE = 1e-3
TASKS: tuple[Task, ...] = ("text-generation", "translation", "summarisation")


def check_name(name: str) -> str:
    """A callback for the name that a model gets. Raises typer.BadParameter if it is not a valid one."""
    if re.fullmatch(MODEL_NAME_PATTERN, name) is None:
        raise typer.BadParameter("a name begins with a letter or digit and has letters, digits, `.`, `_` and `-`")
    return name


def check_task(task: str | None) -> str | None:
    """A callback for the task. Raises typer.BadParameter if it is none that writes text."""
    if task is not None and task not in TASKS:
        raise typer.BadParameter(f"expected one of {', '.join(TASKS)}")
    return task


@app.command("import")
def import_(
    name: Annotated[str, typer.Argument(help="What the model shall be called.", callback=check_name)],
    folder: Annotated[Path, typer.Argument(help="Where the export lies.")],
    run: RunOption = None,
    store: StoreOption = DEFAULT_STORE,
    publish: Annotated[bool, typer.Option("--publish/--no-publish", help="Whether to publish what passed.")] = True,
    alias: Annotated[
        str | None, typer.Option(help="Points this alias at the new version.", callback=check_alias)
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(help=f"One of {', '.join(TASKS)}.", callback=check_task, show_default="by architecture"),
    ] = None,
    max_length: Annotated[
        int | None, typer.Option(help="Most tokens of a source, and of a text.", min=2, show_default="as exported")
    ] = None,
    tolerance: Annotated[
        float, typer.Option(help="The largest difference of two right logits.", min=1e-7, max=1.0)
    ] = DEFAULT_TOLERANCE,
) -> None:
    """Imports an encoder-decoder exported to ONNX by Hugging Face tools: composes, verifies and publishes it.

    The folder holds encoder_model.onnx, decoder_model.onnx, decoder_with_past_model.onnx, config.json, perhaps
    generation_config.json, and tokenizer.json or Marian's source.spm, target.spm and vocab.json.
    """
    with one_line_errors():
        from models.importing.candidate import import_candidate
        from models.importing.folder import read_export
        from models.importing.generation import defaults_left_out
        from models.importing.verify import verify_import

        export, bundle = read_export(folder), bundle_of(name, run)
        manifest = import_candidate(
            export, bundle, name=name, task=_task(task), max_length=max_length, tolerance=tolerance
        )
        typer.echo(f"imported {folder} to {bundle}: {', '.join(graph.file for graph in manifest.graphs)}")
        for sentence in defaults_left_out(export):
            typer.echo(f"note: {sentence}")
        _show(name, verify_import(export, bundle))
        if publish:
            publication = publish_bundle(bundle, store)
            typer.echo(f"published {name} version {publication.version}: {publication.directory}")
            if alias is not None:
                move(store, name, alias, publication.version)


def _task(name: str | None) -> Task | None:
    return next((task for task in TASKS if task == name), None)


def _show(name: str, report: ParityReport) -> None:
    """Says what verification found, on one line a fact."""
    typer.echo(
        f"verified {name}: logits differ from the export's graphs by up to {report.outputs[0].max_error:.2e}, a row in "
        f"company from the same row alone by up to {report.batched_equals_alone_max_error:.2e}; the tolerance is "
        f"{report.tolerance:.0e}"
    )
    typer.echo(f"batch sizes {_listed(report.batch_sizes)}; lengths {_listed(report.lengths)}")
    if not is_invariant(report):
        typer.echo("its rows depend on their batch and are served alone")


def _listed(numbers: tuple[int, ...]) -> str:
    return ", ".join(map(str, numbers))

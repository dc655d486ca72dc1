"""`python -m models export`: checkpoint to candidate bundle."""

from typing import Annotated

import typer

from models.cli import app
from models.cli.run_folder import ModelArgument, RunOption, bundle_of, checkpoint_of, load_run, one_line_errors
from models.registry import RegisteredMechanism, registered_model

PackedOption = Annotated[
    bool, typer.Option("--packed/--no-packed", help="Whether to export the graphs over packed rows too.")
]


@app.command()
def export(model: ModelArgument, run: RunOption = None, packed: PackedOption = True) -> None:
    """Exports a trained model to ONNX, as a candidate bundle in its run folder.

    A model without weights needs no training: its checkpoint is made here. One that reads sequences of tokens gets
    graphs over packed rows too, of which the server takes the fastest.
    """
    with one_line_errors():
        # the exporter takes a second to import: not for `--help`
        from models.export.candidate import export_candidate
        from models.export.weightless import write_checkpoint

        registered = registered_model(model)
        if isinstance(registered, RegisteredMechanism):
            write_checkpoint(registered, checkpoint_of(model, run))
        bundle = bundle_of(model, run)
        manifest = export_candidate(load_run(model, run), bundle, packed=packed)
    outputs = ", ".join(spec.name for spec in manifest.outputs)
    graphs = ", ".join(graph.file for graph in manifest.graphs)
    size = sum(path.stat().st_size for path in bundle.iterdir() if path.suffix in (".onnx", ".bin"))
    typer.echo(
        f"exported {model} to {bundle}: {graphs}, opset {manifest.graphs[0].opset}, {size / 1024:.0f} KiB, {outputs}"
    )

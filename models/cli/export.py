"""`python -m models export`: checkpoint to candidate bundle."""

import typer

from models.cli import app
from models.cli.run_folder import ModelArgument, RunOption, bundle_of, checkpoint_of, load_run, one_line_errors
from models.registry import RegisteredMechanism, registered_model


@app.command()
def export(model: ModelArgument, run: RunOption = None) -> None:
    """Exports a trained model to ONNX, as a candidate bundle in its run folder.

    A model without weights needs no training: its checkpoint is made here.
    """
    with one_line_errors():
        # the exporter takes a second to import: not for `--help`
        from models.export.candidate import export_candidate
        from models.export.weightless import write_checkpoint

        registered = registered_model(model)
        if isinstance(registered, RegisteredMechanism):
            write_checkpoint(registered, checkpoint_of(model, run))
        bundle = bundle_of(model, run)
        manifest = export_candidate(load_run(model, run), bundle)
    outputs = ", ".join(spec.name for spec in manifest.outputs)
    size = (bundle / manifest.graphs[0].file).stat().st_size
    typer.echo(f"exported {model} to {bundle}: opset {manifest.graphs[0].opset}, {size / 1024:.0f} KiB, {outputs}")

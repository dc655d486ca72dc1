"""The commands of `python -m models`, one module each; a module registers its command on `app` when imported."""

import typer

app = typer.Typer(
    name="python -m models",
    help="Trains attention models, exports them to ONNX, verifies and publishes them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
)

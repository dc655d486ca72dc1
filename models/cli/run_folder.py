"""What the commands after training share: the run folder, the store, and errors that fit on one line."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from models.data.errors import DataError
from models.export.failure import CheckpointUnusable, ExportError
from models.export.trained import Trained, load_trained
from models.registry import NotRegistered, RegisteredMechanism, registered_model
from models.training.errors import TrainingRefused
from server.errors import ServeError
from server.manifest import ALIAS_PATTERN

ModelArgument = Annotated[str, typer.Argument(help="The model's name, as `list` shows it.", show_default=False)]
RunOption = Annotated[
    Path | None,
    typer.Option(help="The run's folder, with `checkpoint` and `bundle` in it.", show_default="runs/<model>"),
]
StoreOption = Annotated[Path, typer.Option(help="The folder that the server serves from.")]
DEFAULT_STORE = Path("store")


def checkpoint_of(model: str, run: Path | None) -> Path:
    """The checkpoint folder of a run; None: the model's default run."""
    return _run(model, run) / "checkpoint"


def bundle_of(model: str, run: Path | None) -> Path:
    """The candidate bundle of a run; None: the model's default run."""
    return _run(model, run) / "bundle"


def load_run(model: str, run: Path | None) -> Trained:
    """Loads the run's checkpoint.

    Raises NotRegistered, CheckpointUnusable as `load_trained` does and if the
    checkpoint is of another model.
    """
    checkpoint = checkpoint_of(model, run)
    if isinstance(registered_model(model), RegisteredMechanism) and not checkpoint.is_dir():
        raise CheckpointUnusable(f"no checkpoint in {checkpoint}: begin with `python -m models export {model}`")
    trained = load_trained(checkpoint)
    if trained.record.model != model:
        raise CheckpointUnusable(f"{trained.directory} is a checkpoint of {trained.record.model}, not of {model}")
    return trained


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Ends the command with the message of an expected error and exit code 1; what is a bug keeps its traceback."""
    try:
        yield
    except (NotRegistered, DataError, TrainingRefused, ExportError, ServeError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error


def _run(model: str, run: Path | None) -> Path:
    return Path("runs") / model if run is None else run


def check_alias(name: str | None) -> str | None:
    """A callback for options and arguments that name an alias.

    Raises typer.BadParameter if it is not a valid name.
    """
    if name is not None and re.fullmatch(ALIAS_PATTERN, name) is None:
        raise typer.BadParameter("an alias starts with a letter and has at most 64 letters, digits, - and _")
    return name

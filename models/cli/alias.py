"""`python -m models alias`: names such as `stable` for versions, moved and moved back in one step."""

from pathlib import Path
from typing import Annotated

import typer

from models.cli import app
from models.cli.run_folder import DEFAULT_STORE, ModelArgument, StoreOption, check_alias, one_line_errors
from models.export.failure import StoreUnwritable
from server.errors import ModelNotFound
from server.store.aliases import move_alias, move_back, read_aliases


@app.command()
def alias(
    model: ModelArgument,
    name: Annotated[
        str | None,
        typer.Argument(help="The alias, such as stable or canary; without one: show all.", callback=check_alias),
    ] = None,
    version: Annotated[int | None, typer.Argument(help="The version that it shall mean.", min=1)] = None,
    back: Annotated[bool, typer.Option("--back", help="Undo the alias' last move.")] = False,
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Shows a model's aliases, moves one to a version, or moves it back."""
    if back == (version is not None) and name is not None:
        raise typer.BadParameter("give either a version to move to, or --back")
    if back and name is None:
        raise typer.BadParameter("name the alias to move back")
    with one_line_errors():
        if not (store / model).is_dir():
            raise ModelNotFound(f"{store} holds no model {model}")
        if name is None:
            show(store, model)
        elif version is None:
            move(store, model, name, None)
        else:
            move(store, model, name, version)


def show(store: Path, model: str) -> None:
    """Prints every alias of a model with its version."""
    for name, target in sorted(read_aliases(store / model).items()):
        typer.echo(f"{name} -> {target.version}")


def move(store: Path, model: str, name: str, version: int | None) -> None:
    """Moves an alias to a version, None: back to where it was before; and says so.

    Raises VersionNotFound, ArtifactCorrupt as `server.store.aliases` does; StoreUnwritable if it cannot be written.
    """
    try:
        target = move_back(store / model, name) if version is None else move_alias(store / model, name, version)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise StoreUnwritable(f"the aliases of {model} cannot be written ({reason.lower()}); none was moved") from error
    before = "" if target.previous is None else f" (was {target.previous})"
    typer.echo(f"{model}: {name} -> {target.version}{before}")

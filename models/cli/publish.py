"""`python -m models publish`: a verified candidate becomes the next version in the store."""

from typing import Annotated

import typer

from models.cli import app
from models.cli.alias import move
from models.cli.run_folder import (
    DEFAULT_STORE,
    ModelArgument,
    RunOption,
    StoreOption,
    bundle_of,
    check_alias,
    one_line_errors,
)
from models.export.bundle import read_candidate
from models.export.failure import CandidateUnusable
from models.export.publish import publish as publish_bundle


@app.command()
def publish(
    model: ModelArgument,
    run: RunOption = None,
    store: StoreOption = DEFAULT_STORE,
    alias: Annotated[
        str | None, typer.Option(help="Points this alias at the new version.", callback=check_alias)
    ] = None,
) -> None:
    """Publishes a verified bundle as the model's next version; a running server picks it up."""
    with one_line_errors():
        bundle = bundle_of(model, run)
        name = read_candidate(bundle).name
        if name != model:
            raise CandidateUnusable(f"{bundle} is a bundle of {name}, not of {model}")
        publication = publish_bundle(bundle, store)
        typer.echo(
            f"published {model} version {publication.version}: "
            f"{publication.directory} ({publication.bytes / 1024:.0f} KiB)"
        )
        if alias is not None:
            move(store, model, alias, publication.version)

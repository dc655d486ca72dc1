"""`python -m models attend`: every mechanism without weights, from its formula to the store, in one go."""

from pathlib import Path
from typing import Annotated

import typer

from models.cli import app
from models.cli.alias import move
from models.cli.run_folder import DEFAULT_STORE, StoreOption, bundle_of, check_alias, checkpoint_of, one_line_errors
from models.registry import MODELS, RegisteredMechanism


@app.command()
def attend(
    store: StoreOption = DEFAULT_STORE,
    runs: Annotated[Path, typer.Option(help="Where the run folders lie, one for each mechanism.")] = Path("runs"),
    alias: Annotated[
        str | None, typer.Option(help="Points this alias at the new versions.", callback=check_alias)
    ] = None,
) -> None:
    """Exports, verifies and publishes every bare mechanism; the same as the three commands for each of them."""
    # the exporter takes a second to import: not for `--help`
    from models.export.candidate import export_candidate
    from models.export.publish import publish
    from models.export.report import largest_error
    from models.export.trained import load_trained
    from models.export.verify import verify_candidate
    from models.export.weightless import write_checkpoint

    with one_line_errors():
        # `attend`, the first, comes last: where it stands in a store, the others do too.
        for mechanism in reversed([one for one in MODELS.values() if isinstance(one, RegisteredMechanism)]):
            run = runs / mechanism.name
            write_checkpoint(mechanism, checkpoint_of(mechanism.name, run))
            trained, bundle = load_trained(checkpoint_of(mechanism.name, run)), bundle_of(mechanism.name, run)
            export_candidate(trained, bundle)
            report = verify_candidate(trained, bundle)
            version = publish(bundle, store).version
            typer.echo(f"published {mechanism.name} version {version}: max error {largest_error(report):.1e}")
            if alias is not None:
                move(store, mechanism.name, alias, version)

"""Real published bundles of tiny models, for tests of the server; exported once a test session, since that is slow."""

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

from models.export.candidate import export_candidate
from models.export.publish import publish
from models.export.trained import load_trained
from models.export.verify import verify_candidate
from server.store.aliases import move_alias
from tests.support.checkpoints import make_checkpoint


def publish_tiny(store: Path, model: str, *, seed: int = 0, alias: str | None = None) -> int:
    """Publishes the next version of a registered model at its tiny configuration; returns its number.

    Another `seed` gives other weights, and so other answers; the first use of each costs an export of some seconds.
    """
    version = publish(tiny_candidate(model, seed), store).version
    if alias is not None:
        move_alias(store / model, alias, version)
    return version


def tiny_candidate(model: str, seed: int = 0) -> Path:
    """A verified candidate bundle, `bundle` beside its `checkpoint`; shared by the session: do not write into it."""
    return _candidate(model, seed)


@cache
def _candidate(model: str, seed: int) -> Path:
    run = _scratch() / f"{model}-{seed}"
    trained, bundle = load_trained(make_checkpoint(run, model, seed=seed)), run / "bundle"
    export_candidate(trained, bundle)
    verify_candidate(trained, bundle)
    return bundle


@cache
def _scratch() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="attendant-tests-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder

"""How CTranslate2 is installed, and how it gets our weights."""

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.peers.adapter import PeerUnavailable, environment
from benchmarks.peers.ours import ROOT

VERSION = "4.8.5"
TITLE = f"CTranslate2 {VERSION}"
MODULE = "benchmarks.peers.ctranslate2.serve"
REQUIREMENTS = (f"ctranslate2=={VERSION}", "numpy", "safetensors")


def python(cache: Path) -> Path:
    """The Python of its environment, made on the first call. Raises PeerUnavailable with pip's own reason."""
    return environment("ctranslate2", TITLE, REQUIREMENTS, cache)


def converted(checkpoint: Path, config: Mapping[str, Any], cache: Path) -> Path:
    """The folder of its model with our weights, made on the first call; int8 is rounded from it as it is loaded.

    `config` has the fields of `models.networks.translator.TranslatorConfig`. Raises PeerUnavailable.
    """
    told = json.dumps(dict(config), sort_keys=True)
    digest = hashlib.sha256(told.encode())
    for path in (checkpoint, Path(__file__).with_name("convert.py")):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    folder = cache / f"ctranslate2-{digest.hexdigest()[:16]}"
    if folder.exists():
        return folder
    draft = folder.with_suffix(f".{os.getpid()}")
    command = [str(python(cache).absolute()), "-m", "benchmarks.peers.ctranslate2.convert"]
    ended = subprocess.run(
        [*command, str(checkpoint.resolve()), told, str(draft.resolve())],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode != 0:
        shutil.rmtree(draft, ignore_errors=True)
        last = (ended.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise PeerUnavailable(f"{TITLE} does not take our weights: {last[:200]}")
    draft.rename(folder)
    return folder

"""A recurrent encoder-decoder with additive attention, of the size of the model `dates`, with random weights.

<cache>/store-dates-shape-<digest>/dates-shape/1/     encode and step graphs, in fp32

A word stands for a character: what a step costs does not depend on which characters there are.
"""

import hashlib
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.shapes.writing import SPECIAL, Writer, publish_writer
from models.networks import RecurrentTranslator, RecurrentTranslatorConfig

DATES = "dates-shape"
CHARACTERS = 96
CONFIG = RecurrentTranslatorConfig(vocab_size=CHARACTERS, target_vocab_size=CHARACTERS, dropout=0.0)
SEED = 0
SAMPLE_LENGTHS = (8, 24, 1, 40)


def published_dates(cache: Path) -> Path:
    """The store that holds the model alone; made on the first call, which takes some seconds."""
    store = cache / f"store-{DATES}-{_digest()}"
    if not (store / DATES).exists():
        cache.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=cache) as scratch:
            draft = Path(scratch) / "store"
            publish_writer(dates(), Path(scratch), draft, seed=SEED)
            shutil.rmtree(store, ignore_errors=True)
            draft.chmod(0o755)
            draft.rename(store)
    return store


def dates() -> Writer:
    """The model, with samples of random words."""
    rng = np.random.default_rng(SEED)
    samples = tuple(
        " ".join(f"w{word}" for word in rng.integers(len(SPECIAL), CHARACTERS, size=length))
        for length in SAMPLE_LENGTHS
    )
    return Writer(DATES, "translation", RecurrentTranslator, CONFIG, samples, CONFIG.max_len)


def _digest() -> str:
    """Of the configuration and of the code that publishes; what lies below it is left to a fresh cache."""
    digest = hashlib.sha256(repr(CONFIG).encode())
    for name in ("dates.py", "writing.py"):
        digest.update((Path(__file__).parent / name).read_bytes())
    return digest.hexdigest()[:12]

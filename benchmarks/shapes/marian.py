"""An encoder-decoder of the shape that Marian's base models have, with random weights, published to be measured.

<cache>/store-marian-shape-<digest>/marian-shape/1/     encode and step graphs, in fp32 and int8

As Marian's are, it is post-norm; source and target have tables of their own. Two things differ, which cost nothing, for
with plain random weights every text is one token over and over, and would not tell whether rows were mixed up: the
output layer is not tied to the target's embeddings, and what each sublayer adds is made small, so that the token read
last still matters after all of them. Nothing makes the end likely: a benchmark sets how long its outputs are.
"""

import hashlib
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from benchmarks.shapes.writing import SPECIAL, Writer, publish_writer
from models.networks import Translator, TranslatorConfig

MARIAN = "marian-shape"
CONFIG = TranslatorConfig(
    d_model=512,
    num_heads=8,
    num_layers=6,
    d_ff=2048,
    dropout=0.0,
    norm_first=False,
    vocab_size=32_000,
    target_vocab_size=32_000,
    max_len=64,
    max_target_len=96,
    tie_output=False,
)
SEED = 0
ADDED = 0.3
"""What the last weights of each sublayer are multiplied by."""
SAMPLE_LENGTHS = (8, 24, 1, 48)


def published_marian(cache: Path) -> Path:
    """The store that holds the model alone; made on the first call, which takes minutes."""
    store = cache / f"store-{MARIAN}-{_digest()}"
    if not (store / MARIAN).exists():
        cache.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=cache) as scratch:
            draft = Path(scratch) / "store"
            publish_writer(marian(), Path(scratch), draft, seed=SEED, int8=True)
            shutil.rmtree(store, ignore_errors=True)
            draft.chmod(0o755)
            draft.rename(store)
    return store


def marian() -> Writer:
    """The model, with samples of random words."""
    rng = np.random.default_rng(SEED)
    samples = tuple(" ".join(f"w{word}" for word in _words(rng, length)) for length in SAMPLE_LENGTHS)
    return Writer(MARIAN, "translation", build, CONFIG, samples, CONFIG.max_len)


def build(config: TranslatorConfig) -> Translator:
    """The network with random weights, whose sublayers add little to what they read."""
    network = Translator(config)
    with torch.no_grad():
        for name, weights in network.named_parameters():
            if name.endswith(("project_context.weight", "feed_forward.3.weight")):
                weights.mul_(ADDED)
    return network


def _words(rng: np.random.Generator, length: int) -> list[int]:
    words: list[int] = rng.integers(len(SPECIAL), CONFIG.vocab_size, size=length).tolist()
    return words


def _digest() -> str:
    """Of the configuration and of the code that publishes; what lies below it is left to a fresh cache."""
    digest = hashlib.sha256(repr(CONFIG).encode())
    for name in ("marian.py", "writing.py"):
        digest.update((Path(__file__).parent / name).read_bytes())
    return digest.hexdigest()[:12]

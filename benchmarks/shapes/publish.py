"""Publishes the shapes: exported, verified and published as any model is, and kept until their code here changes.

<cache>/store-<digest>/<shape>/1/     what ours serves; its `model.onnx` is the plain graph that the peers run
"""

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper
from safetensors.torch import save_model

from benchmarks.shapes.network import EmbedderConfig
from benchmarks.shapes.task import ATTENTION_MASK, INPUT_IDS, Embedding
from models.checkpoint import SAMPLES_DIR, Record
from models.export.candidate import export_candidate
from models.export.graph import GRAPH_FILE
from models.export.publish import publish
from models.export.quantise_candidate import quantise_candidate
from models.export.trace import OPSET
from models.export.trained import Trained
from models.export.verify import verify_candidate
from models.tasks.task import Exportable
from server.manifest import CHECKPOINT_FILE

SEED = 0
SAMPLE_LENGTHS = (3, 24, 1, 70, 11)
NOOP = "noop"
NOOP_IR_VERSION = 10

SHAPES: Mapping[str, EmbedderConfig] = {
    "minilm-shape": EmbedderConfig(d_model=384, num_heads=12, num_layers=6, d_ff=1536),
    "minilm-shape-maps": EmbedderConfig(d_model=384, num_heads=12, num_layers=6, d_ff=1536, maps=True),
    "tiny-shape": EmbedderConfig(d_model=64, num_heads=4, num_layers=2, d_ff=256),
}
"""By the name under which each is published."""
IN_INT8 = frozenset({"minilm-shape", "tiny-shape"})
"""Published with int8 graphs too."""


def published(shape: str, cache: Path) -> Path:
    """The store that holds a shape, or `noop`, alone; made on the first call, which takes some seconds.

    Raises KeyError for an unknown shape.
    """
    store = cache / f"store-{shape}-{_digest(shape)}"
    if not (store / shape).exists():
        cache.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=cache) as scratch:
            draft = Path(scratch) / "store"
            if shape == NOOP:
                _write_noop(draft)
            else:
                _publish(shape, SHAPES[shape], Path(scratch), draft)
            shutil.rmtree(store, ignore_errors=True)
            draft.chmod(0o755)
            draft.rename(store)
    return store


def graph_of(shape: str, cache: Path) -> Path:
    """The plain ONNX file of a published shape: what the peers run."""
    return published(shape, cache) / shape / "1" / GRAPH_FILE


def _publish(shape: str, config: EmbedderConfig, scratch: Path, store: Path) -> None:
    trained = _untrained(shape, config, scratch / "checkpoint")
    bundle = scratch / "bundle"
    export_candidate(trained, bundle)
    if shape in IN_INT8:
        # Random weights have no quality that could drop; the error to fp32 is measured and recorded.
        quantise_candidate(trained, bundle, without_quality=True)
    verify_candidate(trained, bundle)
    publish(bundle, store)


def _untrained(shape: str, config: EmbedderConfig, directory: Path) -> Trained:
    """A checkpoint folder with random weights, as the export reads it."""
    task = cast("Exportable[object]", Embedding())
    (directory / SAMPLES_DIR).mkdir(parents=True)
    rng = np.random.default_rng(SEED)
    for number, length in enumerate(SAMPLE_LENGTHS):
        ids = rng.integers(1, config.vocab_size, size=(1, length), dtype=np.int64)
        mask = np.ones((1, length), dtype=np.bool_)
        np.savez(
            directory / SAMPLES_DIR / f"{number}.npz", allow_pickle=False, **{INPUT_IDS: ids, ATTENTION_MASK: mask}
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        network = task.build(config).eval()
    save_model(network, str(directory / CHECKPOINT_FILE))
    record = Record(
        model=shape,
        task=task.name,
        config=asdict(config),
        codec=None,
        files=(),
        labels=None,
        seed=SEED,
        data=None,  # Nothing was learned, so there is no quality to have been earned.
        quality=None,
        versions={},
        git_revision=None,
        created_at=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
    )
    return Trained(directory, record, task, config, network, None, task.signature(config, None))


def _write_noop(store: Path) -> None:
    """A model that does nothing: `echo` is `input_ids`, INT64 [rows, length]; an unsigned folder with its graph."""
    ids = helper.make_tensor_value_info(INPUT_IDS, TensorProto.INT64, ["rows", "length"])
    echo = helper.make_tensor_value_info("echo", TensorProto.INT64, ["rows", "length"])
    graph = helper.make_graph([helper.make_node("Identity", [INPUT_IDS], ["echo"])], NOOP, [ids], [echo])
    opsets = [helper.make_opsetid("", OPSET)]
    folder = store / NOOP / "1"
    folder.mkdir(parents=True)
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=NOOP_IR_VERSION), folder / GRAPH_FILE)


def _digest(shape: str) -> str:
    """Of the shape's configuration and of the network's own code; what lies below it is left to a fresh cache."""
    digest = hashlib.sha256(repr(SHAPES[shape] if shape != NOOP else NOOP).encode())
    for name in ("network.py", "publish.py", "task.py"):
        digest.update((Path(__file__).parent / name).read_bytes())
    return digest.hexdigest()[:12]

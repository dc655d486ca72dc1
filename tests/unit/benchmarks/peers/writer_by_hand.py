"""Small networks that write, exported with random weights into a folder that has no more than running them needs."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_model

from benchmarks.load.writing import WritingList, evenly
from models.export.stepwise import export_stepwise
from models.networks import RecurrentTranslator, RecurrentTranslatorConfig, Translator, TranslatorConfig
from models.tasks.task import stepwise_signature
from server.manifest import CHECKPOINT_FILE, MANIFEST_FILE, Manifest, Provenance

VOCABULARY = 40
TRANSFORMER = TranslatorConfig(
    d_model=16,
    num_heads=2,
    num_layers=2,
    d_ff=16,
    vocab_size=VOCABULARY,
    target_vocab_size=VOCABULARY,
    tie_output=False,
)
RECURRENT = RecurrentTranslatorConfig(
    vocab_size=VOCABULARY, target_vocab_size=VOCABULARY, d_embedding=8, d_hidden=16, d_attention=8
)


def network_of(config):
    kind = Translator if isinstance(config, TranslatorConfig) else RecurrentTranslator
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return kind(config).eval()


def write_bundle(folder: Path, config) -> Path:
    folder.mkdir(parents=True)
    network = network_of(config)
    face = stepwise_signature(network)
    graphs = tuple(export_stepwise(network, face, folder))
    save_model(network, str(folder / CHECKPOINT_FILE))
    manifest = Manifest(
        name="writer",
        task="translation",
        graphs=graphs,
        inputs=face.inputs,
        outputs=face.outputs,
        states=face.states,
        generation=face.generation,
        attention=face.attention,
        provenance=Provenance(created_at="2026-01-02T03:04:05Z", data=None, seed=1, config=asdict(config), versions={}),
    )
    (folder / MANIFEST_FILE).write_text(manifest.model_dump_json())
    return folder


def requests(count: int = 24) -> WritingList:
    rng = np.random.default_rng(3)
    lengths, wanted = evenly(1, 12, count, rng), evenly(2, 14, count, rng)
    rows = tuple(rng.integers(3, VOCABULARY, size=length) for length in lengths)
    return WritingList(rows, tuple(" ".join(f"w{token}" for token in row) for row in rows), tuple(wanted.tolist()))


def greedy(network, source, wanted: int) -> list[int]:
    """By the whole text at each step, as the network is trained: the tokens that are likeliest and may be written."""
    spec = network.generation
    written = list(spec.start)
    ids = torch.from_numpy(source)[None]
    with torch.inference_mode():
        while len(written) < len(spec.start) + wanted:
            logits = network(ids, torch.ones_like(ids, dtype=torch.bool), torch.tensor([written]))[0, -1]
            logits[list({*spec.end, *spec.suppress})] = -torch.inf
            written.append(int(logits.argmax()))
    return written[len(spec.start) :]

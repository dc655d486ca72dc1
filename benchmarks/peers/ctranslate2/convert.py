"""Our translator's weights as a model of CTranslate2; runs in its environment.

    python -m benchmarks.peers.ctranslate2.convert CHECKPOINT CONFIG FOLDER

The network is the same to the last weight, so that texts can be compared: norms after the sums or before the sublayers,
GELU, embeddings scaled by the root of the width, and sines and cosines in alternate columns, which are given as a table
because CTranslate2's own lie in halves. A token is called by its number in the vocabulary.
"""

import json
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ctranslate2
import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

Weights = Mapping[str, NDArray[np.float32]]
LONGEST_WAVELENGTH = 10000.0
READ_ALIKE = ("query", "key", "value")
"""Products of one input, which CTranslate2 takes as one product, in this order."""


def convert(checkpoint: Path, config: Mapping[str, Any], folder: Path) -> None:
    """Writes the model. `config` has the fields of `models.networks.translator.TranslatorConfig`."""
    weights: dict[str, NDArray[np.float32]] = load_file(checkpoint)
    if "target_embedding.weight" not in weights:  # One tensor of two names, kept under the other one.
        weights["target_embedding.weight"] = weights["output.weight"]
    spec = ctranslate2.specs.TransformerSpec.from_config(
        config["num_layers"],
        config["num_heads"],
        pre_norm=config["norm_first"],
        activation=ctranslate2.specs.Activation.GELU,
    )
    _encoder(spec.encoder, weights, config)
    _decoder(spec.decoder, weights, config)
    spec.register_source_vocabulary([str(token) for token in range(config["vocab_size"])])
    spec.register_target_vocabulary([str(token) for token in range(config["target_vocab_size"])])
    spec.config.add_source_bos = spec.config.add_source_eos = False
    spec.config.decoder_start_token = spec.config.bos_token = str(config["start_id"])
    spec.config.eos_token = str(config["end_id"])
    spec.config.unk_token = str(config["pad_id"])
    spec.validate()
    folder.mkdir(parents=True, exist_ok=True)
    spec.save(str(folder))


def positions(count: int, width: int) -> NDArray[np.float32]:
    """Column 2i is sin(p / 10000^(2i/width)), column 2i+1 the cosine of the same angle: [count, width]."""
    exponents = np.arange(0, width, 2, dtype=np.float32) / width
    frequencies = np.exp(exponents * np.float32(-math.log(LONGEST_WAVELENGTH)))
    angles = np.arange(count, dtype=np.float32)[:, None] * frequencies
    return np.stack((np.sin(angles), np.cos(angles)), axis=-1).reshape(count, width).astype(np.float32)


def _encoder(spec: Any, weights: Weights, config: Mapping[str, Any]) -> None:
    spec.embeddings[0].weight = weights["source_embedding.weight"]
    spec.position_encodings.encodings = positions(config["max_len"], config["d_model"])
    for number, layer in enumerate(spec.layer):
        prefix = f"encoder.blocks.{number}"
        attention = layer.self_attention
        _joined(attention.linear[0], weights, *(f"{prefix}.attention.project_{part}" for part in READ_ALIKE))
        _joined(attention.linear[1], weights, f"{prefix}.attention.project_context")
        _norm(attention.layer_norm, weights, f"{prefix}.attention_norm")
        _feed_forward(layer.ffn, weights, prefix)
    if config["norm_first"]:
        _norm(spec.layer_norm, weights, "encoder.last_norm")


def _decoder(spec: Any, weights: Weights, config: Mapping[str, Any]) -> None:
    spec.embeddings.weight = weights["target_embedding.weight"]
    spec.position_encodings.encodings = positions(config["max_target_len"], config["d_model"])
    for number, layer in enumerate(spec.layer):
        prefix = f"blocks.{number}"
        _joined(layer.self_attention.linear[0], weights, f"{prefix}.self_attention.project")
        _joined(layer.self_attention.linear[1], weights, f"{prefix}.self_attention.project_context")
        _norm(layer.self_attention.layer_norm, weights, f"{prefix}.self_attention_norm")
        for linear, part in zip(layer.attention.linear, ("query", "source", "context"), strict=True):
            _joined(linear, weights, f"{prefix}.source_attention.project_{part}")
        _norm(layer.attention.layer_norm, weights, f"{prefix}.source_attention_norm")
        _feed_forward(layer.ffn, weights, prefix)
    if config["norm_first"]:
        _norm(spec.layer_norm, weights, "last_norm")
    if config["tie_output"]:
        spec.projection.weight = weights["target_embedding.weight"]
    else:
        _joined(spec.projection, weights, "output")


def _feed_forward(spec: Any, weights: Weights, prefix: str) -> None:
    _joined(spec.linear_0, weights, f"{prefix}.feed_forward.0")
    _joined(spec.linear_1, weights, f"{prefix}.feed_forward.3")
    _norm(spec.layer_norm, weights, f"{prefix}.feed_forward_norm")


def _joined(spec: Any, weights: Weights, *names: str) -> None:
    """One product of several that read the same."""
    spec.weight = np.concatenate([weights[f"{name}.weight"] for name in names])
    spec.bias = np.concatenate([weights[f"{name}.bias"] for name in names])


def _norm(spec: Any, weights: Weights, name: str) -> None:
    spec.gamma, spec.beta = weights[f"{name}.weight"], weights[f"{name}.bias"]


if __name__ == "__main__":
    convert(Path(sys.argv[1]), json.loads(sys.argv[2]), Path(sys.argv[3]))

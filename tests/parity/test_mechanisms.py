"""Each catalogued mechanism in PyTorch against its own ONNX graph, at sizes that the export never saw."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import nn

from models.attention import LinearAttention
from models.attention.catalogue import MECHANISMS, NEAR_PAIR_AXES, Catalogued, Sizes, mechanism
from tests.support.catalogued import QUIET_EXPORT, Inputs, Run, built, drawn, dynamic_axes, export, leaves, load
from tests.support.precisions import largest_error, write_bf16, write_int8

TOLERANCE = 1e-5
SEEN = Sizes(B=3, T=5, S=7)
UNSEEN = [
    Sizes(B=1, T=1, S=1),
    Sizes(B=2, T=1, S=9),
    Sizes(B=2, T=6, S=1),
    Sizes(B=1, T=8, S=4),
    Sizes(B=5, T=33, S=17),
]

pytestmark = [pytest.mark.filterwarnings(line) for line in QUIET_EXPORT]


class Errors(NamedTuple):
    """The largest error of any output, relative to that output's largest number."""

    int8: float
    bf16: float


# Seen at B=5, T=33, S=17: int8 weights, a scale a channel, and int8 activations; bf16 weights with float32 arithmetic.
# Mechanisms without parameters have nothing to round.
ERRORS = {
    "additive": Errors(int8=0.009, bf16=0.0028),
    "bilinear": Errors(int8=0.025, bf16=0.0051),
    "concat": Errors(int8=0.011, bf16=0.0031),
    "location": Errors(int8=0.003, bf16=0.0016),
    "location-aware": Errors(int8=0.018, bf16=0.0043),
    "multi-head": Errors(int8=0.016, bf16=0.0036),
    "per-head-linear": Errors(int8=0.009, bf16=0.0034),
    "block": Errors(int8=0.011, bf16=0.0015),
    "multi-query": Errors(int8=0.018, bf16=0.0043),
    "grouped-query": Errors(int8=0.015, bf16=0.0032),
    "sinusoidal-positions": Errors(int8=0.018, bf16=0.0033),
    "learned-positions": Errors(int8=0.028, bf16=0.0034),
    "rotary": Errors(int8=0.012, bf16=0.0037),
    "relative-bias": Errors(int8=0.012, bf16=0.0032),
    "alibi": Errors(int8=0.016, bf16=0.0038),
    "pooling": Errors(int8=0.009, bf16=0.0020),
    "object-queries": Errors(int8=0.011, bf16=0.0021),
    "pointer": Errors(int8=0.012, bf16=0.0046),
    "copy": Errors(int8=0.014, bf16=0.0032),
    "recurrent-pooling-tanh": Errors(int8=0.006, bf16=0.0017),
    "recurrent-pooling-lstm": Errors(int8=0.003, bf16=0.0014),
    "recurrent-pooling-gru": Errors(int8=0.011, bf16=0.0027),
    "recurrent-decoder-tanh": Errors(int8=0.007, bf16=0.0029),
    "recurrent-decoder-lstm": Errors(int8=0.004, bf16=0.0040),
    "recurrent-decoder-gru": Errors(int8=0.021, bf16=0.0024),
    "recurrent-decoder-step": Errors(int8=0.002, bf16=0.0027),
    "encoder-block-post-norm": Errors(int8=0.011, bf16=0.0033),
    "encoder-block-pre-norm": Errors(int8=0.020, bf16=0.0060),
    "decoder-block-post-norm": Errors(int8=0.017, bf16=0.0038),
    "decoder-block-pre-norm": Errors(int8=0.018, bf16=0.0052),
    "spatial": Errors(int8=0.015, bf16=0.0020),
}
# Processors without 8-bit dot products round otherwise.
MARGIN = 2


class Exported(NamedTuple):
    entry: Catalogued
    module: nn.Module
    run: Run
    path: Path


@pytest.fixture(scope="module", params=MECHANISMS, ids=[entry.name for entry in MECHANISMS])
def exported(request, tmp_path_factory):
    entry: Catalogued = request.param
    module = built(entry)
    path = tmp_path_factory.mktemp(entry.name) / "model.onnx"
    inputs = drawn(entry, SEEN)
    run = export(module, inputs, dynamic_axes(entry, inputs), path)
    return Exported(entry, module, run, path)


def assert_agree(exported: Exported, inputs: Inputs) -> None:
    with torch.no_grad():
        expected = leaves(exported.module(**inputs))
    answered = exported.run(inputs)
    assert len(answered) == len(expected)
    for ours, theirs in zip(expected, answered, strict=True):
        assert np.isfinite(theirs).all()
        np.testing.assert_allclose(theirs, ours.numpy(), atol=TOLERANCE, rtol=TOLERANCE)


@pytest.mark.parametrize("sizes", UNSEEN, ids=lambda sizes: f"B{sizes.B}-T{sizes.T}-S{sizes.S}")
def test_graph_answers_and_attends_alike(exported, sizes):
    inputs = drawn(exported.entry, sizes, seed=1)
    assert_agree(exported, inputs)
    if "mask" in inputs:
        assert_agree(exported, {**inputs, "mask": torch.ones_like(inputs["mask"])})


def test_graph_treats_a_wholly_masked_row_alike(exported):
    inputs = drawn(exported.entry, Sizes(B=2, T=6, S=6), seed=2)
    if "mask" not in inputs:
        pytest.skip("takes no mask")
    inputs["mask"][-1] = False
    assert_agree(exported, inputs)


@pytest.mark.parametrize("precision", [write_int8, write_bf16], ids=["int8", "bf16"])
def test_graph_in_fewer_bits_strays_no_further_than_stated(exported, precision, tmp_path):
    name = exported.entry.name
    if not any(True for _ in exported.module.parameters()):
        assert name not in ERRORS
        pytest.skip("has no parameters")
    precision(exported.path, tmp_path / "rounded.onnx")
    inputs = drawn(exported.entry, UNSEEN[-1], seed=4)
    error = largest_error(exported.run(inputs), load(tmp_path / "rounded.onnx", list(inputs))(inputs))
    assert name in ERRORS, f"state the error of {name}: {error:.4f} here"
    stated = ERRORS[name].int8 if precision is write_int8 else ERRORS[name].bf16
    assert 0 < error <= MARGIN * stated


def test_stated_errors_are_of_mechanisms_that_there_are():
    assert set(ERRORS) <= {entry.name for entry in MECHANISMS}


@pytest.mark.parametrize("name", ["linear", "causal-linear"])
def test_context_alone_runs_without_weights(name, tmp_path):
    class ContextOnly(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mechanism: LinearAttention = mechanism(name).build()

        def forward(self, query, key, value, mask):
            return self.mechanism.context_only(query, key, value, mask)

    # Queries and keys are one sequence, so that the running sums have a place for each query.
    near = mechanism("sliding-window")
    assert near.dynamic is NEAR_PAIR_AXES
    module = ContextOnly().eval()
    inputs = drawn(near, SEEN)
    run = export(module, inputs, dynamic_axes(near, inputs), tmp_path / "model.onnx")
    for sizes in UNSEEN:
        assert_agree(Exported(near, module, run, tmp_path), drawn(near, sizes, seed=3))

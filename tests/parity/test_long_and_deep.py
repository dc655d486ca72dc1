"""A deep stack and a long input: one training step in PyTorch, then the exported graph beside it."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim
from torch.utils._python_dispatch import TorchDispatchMode

from models.networks import Encoder, EncoderConfig
from tests.support.catalogued import QUIET_EXPORT, export, leaves

TOLERANCE = 1e-4
NUM_LAYERS = 24
LENGTH = 4096
WINDOW = 32
D_MODEL = EncoderConfig.tiny().d_model
HEADS = EncoderConfig.tiny().num_heads
BYTES_OF_ALL_PAIRS = HEADS * LENGTH * LENGTH * 4
"""What the weights of one layer, in all heads, would take over all pairs of positions: 134 MB."""

pytestmark = [pytest.mark.filterwarnings(line) for line in QUIET_EXPORT]


def step(network: nn.Module, loss, rate: float) -> tuple[float, float]:
    """Takes one step down the gradient; returns the loss before and after it."""
    before = loss()
    before.backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    torch.optim.SGD(network.parameters(), lr=rate).step()
    with torch.no_grad():
        return before.item(), loss().item()


def deep(norm_first: bool) -> Encoder:
    torch.manual_seed(0)
    return Encoder(replace(EncoderConfig.tiny(), num_layers=NUM_LAYERS, norm_first=norm_first, dropout=0.0))


def deep_input(*lengths: int) -> dict[str, Tensor]:
    """States of rows of these lengths, padded to the longest."""
    longest = max(lengths)
    mask = torch.arange(longest) < torch.tensor(lengths)[:, None]
    return {"hidden": torch.randn(len(lengths), longest, D_MODEL), "mask": mask}


@pytest.mark.parametrize("norm_first", [True, False], ids=["pre-norm", "post-norm"])
def test_stack_of_24_layers_trains_a_step(norm_first):
    network, inputs = deep(norm_first), deep_input(5, 3, 1)
    target = torch.randn_like(inputs["hidden"])
    before, after = step(network, lambda: (network(**inputs).hidden - target).square().mean(), rate=1e-2)
    assert after < before
    assert network.blocks[0].attention.project_query.weight.grad.abs().max() > 0


def test_stack_of_24_layers_runs_alike_once_exported(tmp_path):
    network = deep(norm_first=True).eval()
    axes = {name: {0: Dim("B"), 1: Dim("T")} for name in ("hidden", "mask")}
    run = export(network, deep_input(5, 3, 1), axes, tmp_path / "deep.onnx")
    inputs = deep_input(9, 4)
    with torch.no_grad():
        expected = leaves(network(**inputs))
    answered = run(inputs)
    assert len(answered) == 1 + NUM_LAYERS
    for ours, theirs in zip(expected, answered, strict=True):
        np.testing.assert_allclose(theirs, ours.numpy(), atol=TOLERANCE, rtol=TOLERANCE)


def windowed() -> Encoder:
    torch.manual_seed(0)
    return Encoder(replace(EncoderConfig.tiny(), window=WINDOW, dropout=0.0))


class LargestTensor(TorchDispatchMode):
    """Notes the size of the largest tensor that any operation returns, forward and backward."""

    size_bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        self.size_bytes = max([self.size_bytes, *(leaf.numel() * leaf.element_size() for leaf in leaves(result))])
        return result


def long_input() -> dict[str, Tensor]:
    present = torch.arange(LENGTH) < LENGTH - 50
    return {"hidden": torch.randn(1, LENGTH, D_MODEL), "mask": present[None]}


def test_windowed_step_over_4096_positions_holds_far_less_than_their_pairs():
    network, inputs, target = windowed(), long_input(), torch.randn(1, LENGTH, D_MODEL)
    saved: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with LargestTensor() as largest, torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        before, after = step(network, lambda: (network(**inputs).hidden - target).square().mean(), rate=1e-2)
    assert after < before
    assert largest.size_bytes < BYTES_OF_ALL_PAIRS / 10
    # Two layers, and all that both keep for the way back.
    assert sum(saved.values()) < BYTES_OF_ALL_PAIRS / 4


def test_windowed_graph_runs_over_4096_positions_in_far_less_than_their_pairs(tmp_path):
    network = windowed().eval()
    axes = {name: {0: Dim("B"), 1: Dim("T")} for name in ("hidden", "mask")}
    seen = {"hidden": torch.randn(2, 70, D_MODEL), "mask": torch.ones(2, 70, dtype=torch.bool)}
    export(network, seen, axes, tmp_path / "long.onnx")
    inputs = long_input()
    answered, sizes = run_profiled(tmp_path / "long.onnx", {name: tensor.numpy() for name, tensor in inputs.items()})
    with torch.no_grad():
        expected = leaves(network(**inputs))
    for ours, theirs in zip(expected, answered, strict=True):
        np.testing.assert_allclose(theirs, ours.numpy(), atol=TOLERANCE, rtol=TOLERANCE)
    assert answered[1].shape == (1, HEADS, LENGTH, 2 * WINDOW + 1)
    assert max(sizes) < BYTES_OF_ALL_PAIRS / 10
    # All that both layers make, even if nothing of it were given back before the end.
    assert sum(sizes) < BYTES_OF_ALL_PAIRS


def run_profiled(path: Path, feed: dict[str, np.ndarray]) -> tuple[list[np.ndarray], list[int]]:
    """Runs a graph once; returns its outputs, and how many bytes each of its nodes made."""
    options = onnxruntime.SessionOptions()
    options.enable_profiling = True
    options.profile_file_prefix = str(path.with_suffix(""))
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    outputs = session.run(None, feed)
    events = json.loads(Path(session.end_profiling()).read_text())
    sizes = [int(event["args"]["output_size"]) for event in events if "output_size" in event.get("args", {})]
    assert sizes
    return outputs, sizes

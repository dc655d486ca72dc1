"""What the tests that walk the catalogue of mechanisms share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn
from torch.export import Dim
from torch.utils import _pytree as pytree

from models.attention.catalogue import Catalogued, Sizes

OPSET = 20

Inputs = dict[str, Tensor]
Axes = dict[str, dict[int, Dim]]
Run = Callable[[Inputs], list[np.ndarray]]

QUIET_EXPORT = (
    "ignore:.*isinstance.treespec, LeafSpec.*:FutureWarning",
    "ignore:# The axis name.*will not be used:UserWarning",
    "ignore::DeprecationWarning",
)
"""Filters for what torch's exporter says about itself, and about two inputs that share one axis."""


def built(entry: Catalogued) -> nn.Module:
    """The mechanism, evaluating, with vectors and gates drawn where leaving one out would show; some start at zero."""
    torch.manual_seed(0)
    module = entry.build().eval()
    for parameter in module.parameters():
        if parameter.dim() <= 1:
            nn.init.uniform_(parameter, 0.3, 1.5)
    return module


def drawn(entry: Catalogued, sizes: Sizes, seed: int = 0) -> Inputs:
    """Inputs at these sizes, the same ones for the same seed."""
    return entry.inputs(torch.Generator().manual_seed(seed), sizes)


def dynamic_axes(entry: Catalogued, inputs: Inputs) -> Axes:
    """The axes of an entry as torch's exporter takes them: one `Dim` a letter, in the order of the inputs."""
    dims = {letter: Dim(letter) for letter in "BTS"}
    return {name: {axis: dims[letter] for axis, letter in entry.dynamic[name].items()} for name in inputs}


def leaves(output: Any) -> list[Tensor]:
    """The tensors of an output, nested as they may be."""
    return [leaf for leaf in pytree.tree_leaves(output) if isinstance(leaf, Tensor)]


def export(module: nn.Module, inputs: Inputs, axes: Axes, path: Path) -> Run:
    """Exports to `path`, loads it, and returns what runs it."""
    program = torch.onnx.export(
        module,
        kwargs=inputs,
        dynamo=True,
        dynamic_shapes=axes,
        opset_version=OPSET,
        output_names=[f"output_{index}" for index in range(len(leaves(module(**inputs))))],
        verbose=False,
    )
    assert program is not None
    program.save(path)
    return load(path, list(inputs))


def load(path: Path, names: list[str]) -> Run:
    """What runs the graph at `path`, whose inputs are `names`."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert [given.name for given in session.get_inputs()] == names
    return lambda feed: session.run(None, {name: tensor.numpy() for name, tensor in feed.items()})

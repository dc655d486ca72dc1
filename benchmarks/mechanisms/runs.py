"""The three ways a subject runs: forward in PyTorch, forward and backward in PyTorch, forward in ONNX Runtime."""

import logging
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import torch
from torch import nn
from torch.export import Dim

from benchmarks.mechanisms.subjects import Inputs, Subject, answers
from models.attention.catalogue import Scale
from models.export.trace import OPSET
from server.runtime.session import Session

Kind = Literal["forward", "training", "onnx"]
Run = Callable[[], object]

TITLES: dict[Kind, str] = {
    "forward": "PyTorch, forward",
    "training": "PyTorch, forward and backward",
    "onnx": "ONNX Runtime, forward",
}
OUTPUT = "output_"
"""What the names of a graph's outputs begin with: a step's state is an input and an output."""
EXPORT_LENGTH = 201
"""Longer than a block and than a window, of which a shorter example would leave no trace in the graph; 3 times 67."""


def forward(module: nn.Module, inputs: Inputs) -> Run:
    """A run that keeps nothing for the way back."""

    def run() -> object:
        with torch.no_grad():
            return module(**inputs)

    return run


def training(module: nn.Module, inputs: Inputs) -> Run:
    """A run and its gradients, of all answers with respect to parameters and inputs; nothing is accumulated."""
    inputs = {name: tensor.detach().clone() for name, tensor in inputs.items()}
    sources = [tensor.requires_grad_() for tensor in inputs.values() if tensor.is_floating_point()]
    sources += [parameter for parameter in module.parameters() if parameter.requires_grad]

    def run() -> object:
        given = [tensor for tensor in answers(module(**inputs)).values() if tensor.requires_grad]
        return torch.autograd.grad(given, sources, [torch.ones_like(one) for one in given], allow_unused=True)

    return run


def onnx(session: Session, names: list[str], inputs: Inputs) -> Run:
    """A run that fetches the answers and no weights."""
    arrays = {name: tensor.numpy() for name, tensor in inputs.items()}
    return lambda: session.run(arrays, names)


def timed(run: Run) -> float:
    """Seconds of one run."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def export(subject: Subject, scale: Scale, path: Path) -> list[str]:
    """Writes the subject's graph, its lengths free; returns the names of its answers."""
    module, inputs = subject.build(scale), subject.inputs(EXPORT_LENGTH, scale)
    # Two rows, because the exporter takes an axis of one for a constant.
    inputs = {name: tensor.expand(2, *tensor.shape[1:]).contiguous() for name, tensor in inputs.items()}
    with torch.no_grad():
        output = module(**inputs)
    dims = {letter: Dim(letter) for letter in "BTS"}
    axes = {name: {axis: dims[letter] for axis, letter in subject.dynamic[name].items()} for name in inputs}
    for talkative in ("torch.onnx", "onnxscript"):
        logging.getLogger(talkative).setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the exporter's own deprecations
        program = torch.onnx.export(
            module,
            kwargs=inputs,
            dynamo=True,
            dynamic_shapes=axes,
            opset_version=OPSET,
            output_names=[f"{OUTPUT}{name}" for name in getattr(output, "_fields", ("context",))],
            verbose=False,
        )
    assert program is not None
    program.save(path)
    return [f"{OUTPUT}{name}" for name in answers(output)]

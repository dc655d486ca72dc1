"""From a module and an example to a checked ONNX file."""

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any

import onnx_ir
import torch
from torch import Tensor, nn

from models.export.example import Dimension
from models.export.face import Face, check_graph
from models.export.failure import GraphInvalid
from models.export.strip import strip_origins
from models.export.weights import SharedWeights

OPSET = 20


Dynamic = dict[int, Dimension]
"""Which axes of an input are dynamic, by position."""


def write_graph(
    module: nn.Module,
    example: tuple[Tensor, ...],
    dynamic: tuple[Dynamic | tuple[Dynamic, ...], ...],
    face: Face,
    path: Path,
    weights: SharedWeights | None,
    *,
    decompositions: Mapping[Any, Callable[..., Any]] | None = None,
    finish: Callable[[onnx_ir.Model], None] | None = None,
) -> None:
    """Traces a module that takes the example's tensors one after another, and writes the graph that it becomes.

    `dynamic` has an entry for each of the module's arguments; for a variadic one, a tuple. Operators that are among
    the `decompositions` become what those make of them. `finish` may mend the graph before it is written.
    Large weights go into `weights` where it is given. The module is left in evaluation mode.
    Raises GraphInvalid if the graph is not the one that `face` describes, or no runtime would take it.
    """
    module.eval()
    with _quiet(), torch.no_grad():
        traced: nn.Module | torch.export.ExportedProgram = module
        if decompositions is not None:
            traced = torch.export.export(module, example, dynamic_shapes=dynamic)
            traced = traced.run_decompositions(dict(decompositions))
        program = torch.onnx.export(
            traced,
            example,
            dynamo=True,
            dynamic_shapes=dynamic,
            opset_version=OPSET,
            input_names=[one.name for one in face.inputs],
            output_names=[name for name, _ in face.outputs],
            verbose=False,
        )
    if program is None:
        raise GraphInvalid("the exporter returned no graph")
    keep_output_names_apart(program.model)
    if finish is not None:
        finish(program.model)
    strip_origins(program.model)
    if weights is not None:
        weights.take(program.model)
    onnx_ir.save(program.model, path)
    check_graph(path, face)


def keep_output_names_apart(model: onnx_ir.Model) -> None:
    """Renames inner values that bear the name of an output.

    The exporter names inner values after the operators that make them and outputs as it is told, without comparing
    them: an output called `linear` or `embedding` would make the model invalid.
    """
    outputs = {value.name: value for value in model.graph.outputs}
    values = [value for node in onnx_ir.traversal.RecursiveGraphIterator(model.graph) for value in node.outputs]
    taken = {value.name for value in (*values, *model.graph.inputs, *model.graph.initializers.values())}
    for value in values:
        if value.name in outputs and outputs[value.name] is not value:
            value.name = next(name for n in count() if (name := f"{value.name}_inner_{n}") not in taken)
            taken.add(value.name)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Holds back the exporter's remarks on its own internals; failures are exceptions and pass."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)

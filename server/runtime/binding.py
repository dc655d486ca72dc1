"""Runs of one graph on arrays that stay where they are: nothing is copied in, and what comes out lies where it is used.

A decoding step reads and writes the same states again and again. Bound once, a run costs no conversion of its inputs,
and an output may be bound to the very memory of an input where the graph allows it.
"""

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnxruntime

from server.errors import InferenceFailed
from server.runtime.session import Session
from server.tensors import Array

logger = logging.getLogger(__name__)


class BoundRun:
    """A graph with its inputs and outputs tied to memory; holds on to the arrays."""

    __slots__ = ("_arrays", "_binding", "_fetched", "_options", "_session")

    def __init__(self, session: Session, inputs: Mapping[str, Array], outputs: Mapping[str, Array | None]) -> None:
        """Ties arrays, which must be C-contiguous, by address; an output with None is made anew by each run.

        Outputs of the graph that are not named are not fetched. Raises InferenceFailed if the session is closed, an
        array is not one piece of memory, or the graph has no such input or output.
        """
        self._session = session
        self._options = onnxruntime.RunOptions()
        self._binding: Any = session.binding()
        self._arrays = (*inputs.values(), *(array for array in outputs.values() if array is not None))
        try:
            self._bind(inputs, outputs)
        except RuntimeError as error:
            logger.error("ONNX Runtime failed: %s", error)
            raise InferenceFailed("the graph takes no such arrays; the cause is in the server's log") from error
        self._fetched = [(number, name) for number, (name, held) in enumerate(outputs.items()) if held is None]

    def _bind(self, inputs: Mapping[str, Array], outputs: Mapping[str, Array | None]) -> None:
        for name, array in inputs.items():
            _check(name, array)
            self._binding.bind_input(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
        for name, held in outputs.items():
            if held is None:
                self._binding.bind_output(name, "cpu")
            else:
                _check(name, held)
                self._binding.bind_output(name, "cpu", 0, held.dtype.type, held.shape, held.ctypes.data)

    def run(self) -> dict[str, Array]:
        """Computes; returns the outputs that had no array of their own. Raises InferenceFailed."""
        for _, name in self._fetched:  # or the runtime takes the last run's array, which may have another shape
            self._binding.bind_output(name, "cpu")
        self._session.run_bound(self._binding, self._options)
        if not self._fetched:
            return {}
        values = self._binding.get_outputs()
        return {name: values[number].numpy() for number, name in self._fetched}


def _check(name: str, array: Array) -> None:
    if not array.flags.c_contiguous or array.dtype == np.object_:
        raise InferenceFailed(f"{name} cannot be bound: it is not one piece of plain memory")

"""One ONNX graph, opened: an ONNX Runtime session with the server's datatypes and errors on its face."""

import ctypes
import hashlib
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# At its import the runtime would start telemetry and write a device's number into the home folder.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime

from server.errors import ArtifactCorrupt, InferenceFailed, ServeError
from server.runtime.element_types import ELEMENT_TYPES, array_of, bf16_value, bytes_of, text_of
from server.runtime.onnx_file import parse_onnx, read_onnx
from server.tensors import Array, Datatype

logger = logging.getLogger(__name__)

_SILENT = 4
"""Fatal: the runtime must not write to stderr past the server's own log; its errors reach us as exceptions."""

RUNTIME_VERSION: str = onnxruntime.__version__
"""The version of ONNX Runtime that is installed."""

onnxruntime.set_default_logger_severity(_SILENT)
onnxruntime.disable_telemetry_events()


@dataclass(frozen=True, slots=True)
class GraphTensor:
    """One input or output as the graph declares it."""

    name: str
    datatype: Datatype
    shape: tuple[int | str | None, ...]
    """int: a fixed size; str: a symbol, equal wherever it stands; None: unknown. An unknown rank reads as ()."""


class Session:
    """A graph ready to run; `run` may be called from several threads at once."""

    def __init__(self, session: onnxruntime.InferenceSession, opset: int) -> None:
        self._session: Any = session
        self.inputs: tuple[GraphTensor, ...] = tuple(_graph_tensor("input", node) for node in session.get_inputs())
        self.outputs: tuple[GraphTensor, ...] = tuple(_graph_tensor("output", node) for node in session.get_outputs())
        self.provider: str = session.get_providers()[0]
        self.opset = opset
        self._datatypes = {tensor.name: tensor.datatype for tensor in (*self.inputs, *self.outputs)}
        self._has_bf16 = Datatype.BF16 in self._datatypes.values()
        self._running: set[onnxruntime.RunOptions] = set()
        if self._has_bf16 and any(tensor.datatype is Datatype.BYTES for tensor in self.inputs):
            raise ArtifactCorrupt(
                "a graph with BF16 beside BYTES inputs cannot be run: ONNX Runtime takes no such call"
            )

    @classmethod
    def open(cls, path: Path, *, intra_op_threads: int = 1, sha256: str | None = None) -> "Session":
        """Opens the ONNX file at `path`, on the CPU, with as many threads a run as asked for; idle ones do not spin.

        The file is read once and opened from those bytes: where `sha256` is given, what was hashed is what runs.
        External data lies beside the file and is read by the runtime itself, so there a file that changes between
        the bundle's verification and this call goes unnoticed.

        Raises ArtifactCorrupt if the file cannot be read, differs from `sha256`, is refused by the runtime, or has
        inputs or outputs that are not tensors of a served datatype.
        """
        content = read_onnx(path)
        if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
            raise ArtifactCorrupt(f"{path.name} changed after it was verified")
        opset = parse_onnx(content).opset
        options = _options(intra_op_threads)
        # Bytes have no folder of their own; this is where external data is looked for.
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(path.parent))
        try:
            session = onnxruntime.InferenceSession(
                content, options, providers=["CPUExecutionProvider"], enable_fallback=0
            )
        except Exception as error:
            logger.warning("ONNX Runtime refused %s: %s", path, error)
            raise ArtifactCorrupt(f"{path.name} was refused by ONNX Runtime; its reason is in the log") from error
        # The Python wrapper would keep the file's bytes for as long as it lives, only to reopen itself.
        session._model_bytes = None
        try:
            return cls(session, opset)
        except UnicodeDecodeError as error:
            raise ArtifactCorrupt(f"{path.name} names an input or output in bytes that are not UTF-8") from error

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str] | None = None) -> dict[str, Array]:
        """Computes the named outputs (None: all), in that order; blocks, and holds no lock while it does.

        Arrays are held as `server.tensors` says: BF16 as uint16 patterns, BYTES as objects.

        Raises UndecodableInput for BYTES that are not UTF-8, InferenceFailed for everything else that goes wrong.
        """
        session = self._session  # a concurrent close() must not take it away from under this run
        if session is None:
            raise InferenceFailed("the session is closed")
        names = list(outputs) if outputs is not None else [tensor.name for tensor in self.outputs]
        if not names:
            return {}
        options = onnxruntime.RunOptions()
        self._running.add(options)
        try:
            arrays = self._run(session, inputs, names, options)
        except ServeError:
            raise
        except Exception as error:
            logger.error("ONNX Runtime failed: %s", error)
            raise InferenceFailed("the model failed on this input; the cause is in the server's log") from error
        finally:
            self._running.discard(options)
        return {
            name: bytes_of(array) if self._datatypes[name] is Datatype.BYTES else array
            for name, array in zip(names, arrays, strict=True)
        }

    def stop_runs(self) -> None:
        """Ends the runs in flight with InferenceFailed as soon as the operator that computes now has finished."""
        for options in list(self._running):
            options.terminate = True

    def _run(
        self, session: Any, inputs: Mapping[str, Array], names: list[str], options: onnxruntime.RunOptions
    ) -> list[Array]:
        """Plain where numpy knows every dtype; the long way, by the runtime's own values, for BF16."""
        if not self._has_bf16:
            held = {name: self._held(name, array) for name, array in inputs.items()}
            plain: list[Array] = session.run(names, held, options)
            return plain
        values = {
            name: bf16_value(array)
            if self._datatypes.get(name) is Datatype.BF16
            else onnxruntime.OrtValue.ortvalue_from_numpy(array)
            for name, array in inputs.items()
        }
        return [array_of(value) for value in session.run_with_ort_values(names, values, options)]

    def _held(self, name: str, array: Array) -> Array:
        return text_of(array) if self._datatypes.get(name) is Datatype.BYTES else array

    def close(self) -> None:
        """Drops the runtime's session and gives its memory back to the system; runs in flight finish first.

        Closing twice is harmless.
        """
        self._session = None
        _return_memory()


def _options(intra_op_threads: int) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = intra_op_threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _SILENT
    # A row must be answered alike every time: golden outputs are replayed, and batches compared with single rows.
    options.use_deterministic_compute = True
    # Threads that spin while they wait would take the cores from other models' runs.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    return options


def _graph_tensor(kind: str, node: Any) -> GraphTensor:
    datatype = ELEMENT_TYPES.get(node.type)
    if datatype is None:
        raise ArtifactCorrupt(f"{kind} {node.name} is a {node.type}; only tensors of plain element types are served")
    shape = tuple(None if isinstance(size, int) and size < 0 else size for size in node.shape)
    return GraphTensor(node.name, datatype, shape)


def _return_memory() -> None:
    """Makes glibc hand back what it keeps, which may be a model's worth; elsewhere there is no such call."""
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return
    trim(0)

"""One ONNX graph, opened: an ONNX Runtime session with the server's datatypes and errors on its face."""

import ctypes
import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnxruntime

from server.errors import ArtifactCorrupt, InferenceFailed, ModelNotReady, RequestCancelled, ServeError
from server.runtime.element_types import ELEMENT_TYPES, array_of, bf16_value, bytes_of, text_of
from server.runtime.onnx_file import OnnxFile, parse_onnx, read_onnx
from server.runtime.providers import ONE_THREAD, Execution, Provider, provider_options, session_options
from server.tensors import Array, Datatype

logger = logging.getLogger(__name__)

_STOPPED = "the run was stopped"

RUNTIME_VERSION: str = onnxruntime.__version__
"""The version of ONNX Runtime that is installed."""


@dataclass(frozen=True, slots=True)
class GraphTensor:
    """One input or output as the graph declares it."""

    name: str
    datatype: Datatype
    shape: tuple[int | str | None, ...]
    """int: a fixed size; str: a symbol, equal wherever it stands; None: unknown. An unknown rank reads as ()."""


class RunStop:
    """Ends one run alone, from any thread, before it begins or while it goes on; the run raises RequestCancelled."""

    __slots__ = ("_stopped", "options")

    def __init__(self) -> None:
        self.options = onnxruntime.RunOptions()
        self._stopped = False

    @property
    def stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._stopped

    def stop(self) -> None:
        """Asks the run to end once the operator that computes now has finished; harmless after it, and twice."""
        self._stopped = True
        self.options.terminate = True


class Session:
    """A graph ready to run; `run` may be called from several threads at once."""

    def __init__(
        self, session: onnxruntime.InferenceSession, file: OnnxFile, execution: Execution = ONE_THREAD
    ) -> None:
        self._session: Any = session
        self.inputs: tuple[GraphTensor, ...] = tuple(_graph_tensor("input", node) for node in session.get_inputs())
        self.outputs: tuple[GraphTensor, ...] = tuple(_graph_tensor("output", node) for node in session.get_outputs())
        self.opset = file.opset
        self.loops = file.loops
        """Whether what a run costs depends on the values of its inputs, and not on their shapes alone."""
        self.cpu_share = _cpu_share(session, execution)
        """Of the graph's nodes, those that ONNX Runtime's CPU provider runs, as a part of 1: under another provider,
        what that could not take. Where it took none, `execution` is the CPU's."""
        fell_back = execution.provider is not Provider.CPU and self.cpu_share == 1.0
        self.execution = replace(execution, provider=Provider.CPU, precision="fp32") if fell_back else execution
        self._output_names = [tensor.name for tensor in self.outputs]
        self._bf16_inputs = _names_of(self.inputs, Datatype.BF16)
        self._text_inputs = _names_of(self.inputs, Datatype.BYTES)
        self._text_outputs = _names_of(self.outputs, Datatype.BYTES)
        self._has_bf16 = bool(self._bf16_inputs or _names_of(self.outputs, Datatype.BF16))
        self._running: set[onnxruntime.RunOptions] = set()
        if self._has_bf16 and self._text_inputs:
            raise ArtifactCorrupt(
                "a graph with BF16 beside BYTES inputs cannot be run: ONNX Runtime takes no such call"
            )

    @property
    def provider(self) -> str:
        """ONNX Runtime's name of the provider that runs the graph, or most of it."""
        return self.execution.provider.runtime_name

    @classmethod
    def open(cls, path: Path, *, execution: Execution = ONE_THREAD, sha256: str | None = None) -> "Session":
        """Opens the ONNX file at `path` to run as `execution` says; idle threads do not spin.

        What the provider cannot take runs on the CPU; the log and `cpu_share` tell how much that is.

        The file is read once and opened from those bytes: where `sha256` is given, what was hashed is what runs.
        External data lies beside the file and is read by the runtime itself, so there a file that changes between
        the bundle's verification and this call goes unnoticed.

        Raises ArtifactCorrupt if the file cannot be read, differs from `sha256`, is refused by the runtime, or has
        inputs or outputs that are not tensors of a served datatype; ModelNotReady if a provider other than the CPU's
        cannot start here or fails to compile the graph.
        """
        content = read_onnx(path)
        if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
            raise ArtifactCorrupt(f"{path.name} changed after it was verified")
        file = parse_onnx(content)
        session = _open(path, content, execution)
        try:
            opened = cls(session, file, execution)
        except UnicodeDecodeError as error:
            raise ArtifactCorrupt(f"{path.name} names an input or output in bytes that are not UTF-8") from error
        if execution.provider is not Provider.CPU and opened.cpu_share:
            logger.warning(
                "%s: the CPU provider runs %.0f%% of the nodes, %s the rest",
                path,
                100 * opened.cpu_share,
                execution.provider,
            )
        return opened

    def run(
        self, inputs: Mapping[str, Array], outputs: Sequence[str] | None = None, stop: RunStop | None = None
    ) -> dict[str, Array]:
        """Computes the named outputs (None: all), in that order; blocks, and holds no lock while it does.

        Arrays are held as `server.tensors` says: BF16 as uint16 patterns, BYTES as objects. `stop` serves this run
        only. OpenVINO computes its part of a graph as one operator: a run that is stopped there ends when that is done.

        Raises UndecodableInput for BYTES that are not UTF-8, RequestCancelled for a run that was stopped by `stop`,
        InferenceFailed for everything else that goes wrong.
        """
        session = self._session  # a concurrent close() must not take it away from under this run
        if session is None:
            raise InferenceFailed("the session is closed")
        names = self._output_names if outputs is None else list(outputs)
        if not names:
            return {}
        options = onnxruntime.RunOptions() if stop is None else stop.options
        self._running.add(options)
        try:
            arrays = self._run(session, inputs, names, options)
        except ServeError:
            raise
        except Exception as error:
            if stop is not None and stop.stopped:
                raise RequestCancelled(_STOPPED) from error
            logger.error("ONNX Runtime failed: %s", error)
            raise InferenceFailed("the model failed on this input; the cause is in the server's log") from error
        finally:
            self._running.discard(options)
        if stop is not None and stop.stopped:  # too late to end it, but nobody waits for the answer
            raise RequestCancelled(_STOPPED)
        answers = dict(zip(names, arrays, strict=True))
        for name in self._text_outputs & answers.keys():
            answers[name] = bytes_of(answers[name])
        return answers

    def binding(self) -> Any:
        """The runtime's table of what a run reads and writes, empty; `server.runtime.binding` fills it.

        Raises InferenceFailed if the session is closed.
        """
        if self._session is None:
            raise InferenceFailed("the session is closed")
        return self._session.io_binding()

    def run_bound(self, binding: Any, options: onnxruntime.RunOptions) -> None:
        """Computes on what `binding` holds; blocks, and holds no lock while it does. Raises InferenceFailed."""
        session = self._session
        if session is None:
            raise InferenceFailed("the session is closed")
        self._running.add(options)
        try:
            session.run_with_iobinding(binding, options)
        except Exception as error:
            logger.error("ONNX Runtime failed: %s", error)
            raise InferenceFailed("the model failed on this input; the cause is in the server's log") from error
        finally:
            self._running.discard(options)

    def stop_runs(self) -> None:
        """Ends the runs in flight with InferenceFailed as soon as the operator that computes now has finished."""
        for options in list(self._running):
            options.terminate = True

    def _run(
        self, session: Any, inputs: Mapping[str, Array], names: list[str], options: onnxruntime.RunOptions
    ) -> list[Array]:
        """Plain where numpy knows every dtype; the long way, by the runtime's own values, for BF16."""
        if not self._has_bf16:
            if self._text_inputs:
                texts = self._text_inputs
                inputs = {name: text_of(array) if name in texts else array for name, array in inputs.items()}
            plain: list[Array] = session.run(names, inputs if type(inputs) is dict else dict(inputs), options)
            return plain
        values = {
            name: bf16_value(array) if name in self._bf16_inputs else onnxruntime.OrtValue.ortvalue_from_numpy(array)
            for name, array in inputs.items()
        }
        return [array_of(value) for value in session.run_with_ort_values(names, values, options)]

    def close(self) -> None:
        """Drops the runtime's session and gives its memory back to the system; runs in flight finish first.

        Closing twice is harmless.
        """
        self._session = None
        _return_memory()


def _open(path: Path, content: bytes, execution: Execution) -> onnxruntime.InferenceSession:
    """The runtime's session on bytes of the file at `path`. Raises what `Session.open` raises for a refusal."""
    provider = execution.provider
    options = session_options(execution)
    # Bytes have no folder of their own; this is where external data is looked for.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(path.parent))
    providers = [(provider.runtime_name, provider_options(execution))]
    try:
        session = onnxruntime.InferenceSession(content, options, providers=providers, enable_fallback=0)
    except Exception as error:
        logger.warning("ONNX Runtime refused %s: %s", path, error)
        if provider is not Provider.CPU:
            raise ModelNotReady(f"the {provider} provider refused {path.name}; its reason is in the log") from error
        raise ArtifactCorrupt(f"{path.name} was refused by ONNX Runtime; its reason is in the log") from error
    # A provider that cannot start, as CUDA without a GPU, is left out without an exception.
    if provider.runtime_name not in session.get_providers():
        raise ModelNotReady(f"the {provider} provider is installed, but cannot start on this machine")
    # The Python wrapper would keep the file's bytes for as long as it lives, only to reopen itself.
    session._model_bytes = None
    return session


def _cpu_share(session: onnxruntime.InferenceSession, execution: Execution) -> float:
    if execution.provider is Provider.CPU:
        return 1.0
    nodes: dict[str, int] = {}
    for part in session.get_provider_graph_assignment_info():
        nodes[part.ep_name] = nodes.get(part.ep_name, 0) + len(part.get_nodes())
    return nodes.get(Provider.CPU.runtime_name, 0) / max(1, sum(nodes.values()))


def _names_of(tensors: Sequence[GraphTensor], datatype: Datatype) -> frozenset[str]:
    return frozenset(tensor.name for tensor in tensors if tensor.datatype is datatype)


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

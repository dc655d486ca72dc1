"""Execution providers: which ones the installed runtime has, and what a run of a graph takes place on."""

import json
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Literal

import onnxruntime

from server.errors import ModelNotReady
from server.manifest import Precision
from server.runtime.processor import CPU_INFO

ProviderSetting = Literal["auto", "cpu", "openvino", "cuda"]
"""A provider by name, or the one that suits the precision."""

SILENT = 4
"""Fatal: the runtime must not write to stderr past the server's own log; its errors reach us as exceptions."""

_BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16"})


class Provider(StrEnum):
    """What computes the nodes of a graph."""

    CPU = "cpu"
    """ONNX Runtime's own kernels, part of every build."""
    OPENVINO = "openvino"
    """Intel's, for x86-64 processors; compiles a graph as a whole and can compute an fp32 graph in bf16."""
    CUDA = "cuda"
    """NVIDIA's GPUs."""

    @property
    def runtime_name(self) -> str:
        """The name that ONNX Runtime knows it by."""
        return _RUNTIME_NAMES[self]


_RUNTIME_NAMES = {
    Provider.CPU: "CPUExecutionProvider",
    Provider.OPENVINO: "OpenVINOExecutionProvider",
    Provider.CUDA: "CUDAExecutionProvider",
}
_EXTRAS = {Provider.CPU: "cpu", Provider.OPENVINO: "openvino", Provider.CUDA: "gpu"}
_PRECISIONS: dict[Provider, tuple[Precision, ...]] = {
    Provider.CPU: ("fp32", "int8"),
    Provider.OPENVINO: ("fp32", "bf16"),
    Provider.CUDA: ("fp32",),
}
_AUTO: dict[Precision, Provider] = {"fp32": Provider.CPU, "bf16": Provider.OPENVINO, "int8": Provider.CPU}
_OPENVINO_PRECISIONS: dict[Precision, str] = {"fp32": "f32", "bf16": "bf16"}
_OPENVINO_CACHE_ENTRIES = 500
"""Kernels that OpenVINO keeps for shapes it has seen, per stream. Its own 5000 grew by 650 MB over 1,000 shapes of a
small encoder, these by 160 MB; they do for some 120 shapes of rows, and for several times as many block-diagonal ones.
"""

onnxruntime.set_default_logger_severity(SILENT)
onnxruntime.disable_telemetry_events()


@dataclass(frozen=True, slots=True)
class Execution:
    """Where, in what and with how many threads the runs of one session take place."""

    provider: Provider = Provider.CPU
    precision: Precision = "fp32"
    threads: int = 1
    """Threads of one run."""
    streams: int = 1
    """Runs that go on at once. OpenVINO keeps that many copies of its state and lets further runs wait."""

    spins: bool = False
    """Threads of one run wait for each other's part of an operator awake, for `SPIN_US` at most: for runs that follow
    one another at once, each of many short operators."""

    def __post_init__(self) -> None:
        if self.threads < 1 or self.streams < 1:
            raise ValueError(f"{self.threads} threads and {self.streams} streams; at least one of each is needed")
        if self.precision not in _PRECISIONS[self.provider]:
            raise ValueError(f"the {self.provider} provider does not compute in {self.precision}")


SPIN_US = 200
"""A thread falls asleep after so long without work: longer than it waits inside a run, and next to nothing after it."""
LEFT_UNFUSED = ("SkipLayerNormFusion", "BiasGeluFusion")
"""Fusions of ONNX Runtime that are left out on its CPU provider: what they make does one number at a time where the
parts do a vector. Without them a padded batch of 8 x 48 tokens through 6 layers of width 384 takes 42 ms in place of 50
(1.31.1, one core)."""
ONE_THREAD = Execution()
"""Plain fp32 on one thread of the CPU: what models are verified on."""


def installed_providers() -> frozenset[Provider]:
    """The providers that the installed ONNX Runtime was built with; whether a GPU is there, opening a session tells."""
    names = onnxruntime.get_available_providers()
    return frozenset(provider for provider in Provider if provider.runtime_name in names)


def processor_has_bf16(cpu_info: Path = CPU_INFO) -> bool:
    """Whether this processor multiplies in bf16 (AVX-512 or AMX), as far as the system tells; without, it is slower."""
    try:
        lines = cpu_info.read_text(errors="replace").splitlines()
    except OSError:
        return False
    flags = next((line for line in lines if line.startswith("flags")), "")
    return not _BF16_FLAGS.isdisjoint(flags.split())


def choose_execution(
    precision: Precision,
    setting: ProviderSetting = "auto",
    threads: int = 1,
    streams: int = 1,
    *,
    installed: frozenset[Provider] | None = None,
    bf16: bool | None = None,
) -> Execution:
    """What runs a graph in `precision`; `installed` and `bf16` stand for what this machine has, which is looked up.

    Raises ModelNotReady, with the reason, where the provider does not compute in that precision, is not installed, or
    the processor has no bf16: another replica may have them.
    """
    provider = _AUTO[precision] if setting == "auto" else Provider(setting)
    if precision not in _PRECISIONS[provider]:
        able = " or ".join(other for other in Provider if precision in _PRECISIONS[other])
        raise ModelNotReady(f"the {provider} provider does not compute in {precision}; {able} does")
    if provider not in (installed_providers() if installed is None else installed):
        raise ModelNotReady(
            f"{precision} on the {provider} provider needs the extra `{_EXTRAS[provider]}`; "
            f"another build of ONNX Runtime is installed"
        )
    if precision == "bf16" and not (processor_has_bf16() if bf16 is None else bf16):
        raise ModelNotReady("bf16 needs a processor with avx512_bf16 or amx_bf16; this one has neither")
    return Execution(provider, precision, threads, streams)


def session_options(execution: Execution) -> onnxruntime.SessionOptions:
    """The options of a session that is to run so; no thread spins for longer than `SPIN_US`, nothing goes to stderr."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = SILENT
    options.intra_op_num_threads = execution.threads
    options.inter_op_num_threads = 1
    # A pattern for each shape made no run faster, but took blocks of its own: a fifth more memory over mixed shapes.
    options.enable_mem_pattern = False
    # A row must be answered alike every time: golden outputs are replayed, and batches compared with single rows.
    options.use_deterministic_compute = True
    # Threads that spin while they wait for the next run would take the cores from other models' runs.
    spins = execution.spins and execution.threads > 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spins else "0")
    if spins:
        options.add_session_config_entry("session.intra_op.spin_duration_us", str(SPIN_US))
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    if execution.provider is Provider.CPU:
        options.add_session_config_entry("optimization.disable_specified_optimizers", ";".join(LEFT_UNFUSED))
    # So that what another provider leaves to the CPU can be told.
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    return options


def provider_options(execution: Execution) -> dict[str, str]:
    """The provider's own options."""
    if execution.provider is Provider.OPENVINO:
        config = {
            "INFERENCE_PRECISION_HINT": _OPENVINO_PRECISIONS[execution.precision],
            "NUM_STREAMS": str(execution.streams),
            "INFERENCE_NUM_THREADS": str(execution.threads * execution.streams),
            # Each session would pin its threads to the first cores, whatever other sessions have pinned there: two of
            # one stream each did half the work. Left to the system, one session of two streams is as fast as pinned.
            "ENABLE_CPU_PINNING": "NO",
            "CPU_RUNTIME_CACHE_CAPACITY": str(_OPENVINO_CACHE_ENTRIES),
        }
        return {"device_type": "CPU", "load_config": json.dumps({"CPU": config})}
    if execution.provider is Provider.CUDA:
        # TF32 would round what the bundle's tolerance holds for fp32; a search per shape would stall new ones.
        return {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}
    return {}

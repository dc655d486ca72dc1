import json

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from server.errors import ModelNotReady
from server.runtime.providers import (
    ONE_THREAD,
    Execution,
    Provider,
    choose_execution,
    installed_providers,
    processor_has_bf16,
    provider_options,
    session_options,
)

EVERYTHING = frozenset(Provider)
CPU_ALONE = frozenset({Provider.CPU})


def choose(precision, setting="auto", installed=EVERYTHING, bf16=True):
    return choose_execution(precision, setting, threads=1, streams=2, installed=installed, bf16=bf16)


@pytest.mark.parametrize(
    ("precision", "setting", "provider"),
    [
        ("fp32", "auto", Provider.CPU),
        ("int8", "auto", Provider.CPU),
        ("bf16", "auto", Provider.OPENVINO),
        ("fp32", "cpu", Provider.CPU),
        ("fp32", "openvino", Provider.OPENVINO),
        ("bf16", "openvino", Provider.OPENVINO),
        ("fp32", "cuda", Provider.CUDA),
    ],
)
def test_each_precision_has_a_provider(precision, setting, provider):
    assert choose(precision, setting) == Execution(provider, precision, threads=1, streams=2)


@pytest.mark.parametrize(
    ("precision", "setting", "says"),
    [
        ("bf16", "cpu", "the cpu provider does not compute in bf16; openvino does"),
        ("bf16", "cuda", "the cuda provider does not compute in bf16; openvino does"),
        ("int8", "openvino", "the openvino provider does not compute in int8; cpu does"),
        ("int8", "cuda", "the cuda provider does not compute in int8; cpu does"),
    ],
)
def test_a_precision_that_the_provider_has_not_is_refused(precision, setting, says):
    with pytest.raises(ModelNotReady) as raised:
        choose(precision, setting)
    assert raised.value.message == says


@pytest.mark.parametrize(
    ("precision", "setting", "says"),
    [
        ("bf16", "auto", "bf16 on the openvino provider needs the extra `openvino`"),
        ("fp32", "openvino", "fp32 on the openvino provider needs the extra `openvino`"),
        ("fp32", "cuda", "fp32 on the cuda provider needs the extra `gpu`"),
    ],
)
def test_a_provider_that_is_not_installed_is_refused_with_the_extra_that_brings_it(precision, setting, says):
    with pytest.raises(ModelNotReady, match=says):
        choose(precision, setting, installed=CPU_ALONE)


def test_bf16_is_refused_on_a_processor_without_it():
    with pytest.raises(ModelNotReady, match="avx512_bf16 or amx_bf16; this one has neither"):
        choose("bf16", bf16=False)
    assert choose("fp32", "openvino", bf16=False).provider is Provider.OPENVINO


def test_the_cpu_is_always_installed():
    assert Provider.CPU in installed_providers()


@pytest.mark.parametrize(
    ("flags", "has"), [("fpu avx512_bf16 sse", True), ("amx_bf16", True), ("fpu avx512f avx512_vnni", False)]
)
def test_bf16_is_read_from_the_processors_flags(tmp_path, flags, has):
    info = tmp_path / "cpuinfo"
    info.write_text(f"processor\t: 0\nmodel name\t: any avx512_bf16\nflags\t\t: {flags}\n")
    assert processor_has_bf16(info) is has


def test_a_system_that_does_not_tell_has_no_bf16(tmp_path):
    assert not processor_has_bf16(tmp_path / "none")


@pytest.mark.parametrize(("threads", "streams"), [(0, 1), (1, 0), (-1, 1)])
def test_an_execution_without_threads_or_streams_is_refused(threads, streams):
    with pytest.raises(ValueError, match="at least one of each"):
        Execution(threads=threads, streams=streams)


def test_an_execution_in_a_precision_that_the_provider_has_not_is_refused():
    with pytest.raises(ValueError, match="cpu provider does not compute in bf16"):
        Execution(precision="bf16")


def test_openvino_gets_a_thread_for_each_thread_of_each_stream():
    options = provider_options(Execution(Provider.OPENVINO, "bf16", threads=3, streams=2))
    config = json.loads(options["load_config"])["CPU"]
    assert config["INFERENCE_PRECISION_HINT"] == "bf16"
    assert (config["NUM_STREAMS"], config["INFERENCE_NUM_THREADS"]) == ("2", "6")


def test_fp32_stays_fp32_on_every_provider():
    config = json.loads(provider_options(Execution(Provider.OPENVINO))["load_config"])["CPU"]
    assert config["INFERENCE_PRECISION_HINT"] == "f32"
    assert provider_options(Execution(Provider.CUDA))["use_tf32"] == "0"
    assert provider_options(ONE_THREAD) == {}


def test_a_run_has_as_many_threads_as_asked_for():
    assert session_options(Execution(threads=3, streams=5)).intra_op_num_threads == 3


def fused(options, path):
    """The operators that become of a residual under a norm, and of a bias under an activation."""
    width = 8
    numbers = {"bias": (width,), "scale": (width,), "shift": (width,)}
    nodes = [
        helper.make_node("Add", ["data", "more"], ["sum"]),
        helper.make_node("LayerNormalization", ["sum", "scale", "shift"], ["norm"], axis=-1),
        helper.make_node("Add", ["norm", "bias"], ["moved"]),
        helper.make_node("Gelu", ["moved"], ["answer"]),
    ]
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", 4, width]) for name in ("data", "more")]
    answer = [helper.make_tensor_value_info("answer", TensorProto.FLOAT, ["rows", 4, width])]
    weights = [numpy_helper.from_array(np.ones(shape, np.float32), name) for name, shape in numbers.items()]
    graph = helper.make_graph(nodes, "g", inputs, answer, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    options.optimized_model_filepath = str(path)
    options.log_severity_level = 4
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return {node.op_type for node in onnx.load(path).graph.node}


def test_fusions_that_lose_on_a_cpu_are_left_out(tmp_path):
    lost = {"SkipLayerNormalization", "BiasGelu"}
    assert lost <= fused(onnxruntime.SessionOptions(), tmp_path / "usual.onnx"), "or they are called otherwise by now"
    assert not lost & fused(session_options(Execution()), tmp_path / "ours.onnx")

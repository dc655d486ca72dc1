"""Graphs in fewer bits, made from one in float32."""

from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
from onnx import numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic


def write_int8(source: Path, target: Path) -> None:
    """Quantises the weights to int8, each channel by itself, and activations as they come."""
    model = onnx.load(source)
    # The quantiser transposes weights of Gemm, and then stumbles over the shapes noted for them.
    del model.graph.value_info[:]
    quantize_dynamic(model, target, per_channel=True, weight_type=QuantType.QInt8)


def write_bf16(source: Path, target: Path) -> None:
    """Rounds every weight to bfloat16. The arithmetic stays in float32: ONNX Runtime's CPU kernels have no other."""
    model = onnx.load(source)
    for weight in model.graph.initializer:
        if weight.data_type == onnx.TensorProto.FLOAT:
            rounded = numpy_helper.to_array(weight).astype(ml_dtypes.bfloat16).astype(np.float32)
            weight.CopyFrom(numpy_helper.from_array(rounded, weight.name))
    onnx.save(model, target)


def largest_error(exact: list[np.ndarray], rounded: list[np.ndarray]) -> float:
    """The largest difference in any output, relative to that output's largest number."""
    return max(
        float(np.abs(theirs - ours).max() / np.abs(ours).max()) for ours, theirs in zip(exact, rounded, strict=True)
    )

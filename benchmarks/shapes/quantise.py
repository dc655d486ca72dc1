"""The plain graph in int8: dynamic, per channel, weights of the matrix products only."""

import hashlib
from pathlib import Path

from onnxruntime.quantization import QuantType, quantize_dynamic


def quantised(graph: Path, cache: Path) -> Path:
    """The int8 form of a graph, made below `cache` on the first call."""
    digest = hashlib.sha256(graph.read_bytes()).hexdigest()[:12]
    target = cache / f"int8-{digest}.onnx"
    if not target.exists():
        draft = target.with_suffix(".draft")
        quantize_dynamic(
            graph, draft, op_types_to_quantize=["MatMul", "Gemm"], per_channel=True, weight_type=QuantType.QInt8
        )
        draft.rename(target)
    return target

"""From class scores to labels: softmax where needed, order, threshold, top-k."""

from collections.abc import Sequence

import numpy as np
from attendant.v1.classify_pb2 import Label
from numpy.typing import NDArray

from server.errors import InferenceFailed
from server.manifest import Manifest, OutputSpec
from server.tensors import Array, Datatype, bf16_to_float32


def score_output(manifest: Manifest) -> OutputSpec | None:
    """The output with one score a class: probabilities if the model has them, else logits."""
    by_role = {spec.role: spec for spec in reversed(manifest.outputs)}
    return by_role.get("probabilities") or by_role.get("logits")


def probabilities(spec: OutputSpec, scores: Array) -> NDArray[np.float64]:
    """(1, N) of scores -> (N,) of probabilities.

    Raises InferenceFailed for scores that are not finite: there is no order among them.
    """
    numbers = bf16_to_float32(scores.view(np.uint16)) if spec.datatype is Datatype.BF16 else scores
    values = numbers.astype(np.float64).reshape(-1)
    if not np.isfinite(values).all():
        raise InferenceFailed("the model answered with scores that are not finite")
    if spec.role == "probabilities":
        return values
    shifted = np.exp(values - values.max())  # the largest exponent is 0: nothing overflows
    normal: NDArray[np.float64] = shifted / shifted.sum()
    return normal


def best_labels(scores: NDArray[np.float64], names: Sequence[str], *, top_k: int, threshold: float) -> list[Label]:
    """Labels in falling order of score, equal scores by index; `top_k` 0 takes all that reach the threshold."""
    order = np.argsort(-scores, kind="stable")
    kept = [index for index in order.tolist() if scores[index] >= threshold]
    return [
        Label(name=names[index] if index < len(names) else str(index), index=index, score=scores[index])
        for index in kept[: top_k or None]
    ]

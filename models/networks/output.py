"""What networks return."""

from typing import NamedTuple

from torch import Tensor


class ClassifierOutput(NamedTuple):
    """What a classifier returns.

    logits: (B,N), before softmax.
    attention: one tensor of weights (B,H,Q,K) for each attending layer, first layer first; here K counts keys.
    """

    logits: Tensor
    attention: tuple[Tensor, ...]

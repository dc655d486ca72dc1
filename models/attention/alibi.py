"""Attention with linear biases: the further a key, the lower its score, at a slope of each head's own."""

import torch
from torch import Tensor

from models.attention.offsets import add_head_bias, key_offsets
from models.attention.scaled_dot_product import ScaledDotProductAttention


def alibi_slopes(num_heads: int) -> tuple[float, ...]:
    """The slope of each head: 2^(-8/H), 2^(-16/H), … 2^-8 where H is a power of two.

    For another number, those of the next lower power of two, followed by every other one of the next higher, as in the
    paper's reference code. Raises ValueError if there is no head.
    """
    if num_heads < 1:
        raise ValueError(f"num_heads must be positive, not {num_heads}")
    lower: int = 2 ** (num_heads.bit_length() - 1)
    slopes = [2.0 ** (-8 * (head + 1) / lower) for head in range(lower)]
    between = [2.0 ** (-8 * (head + 1) / (2 * lower)) for head in range(0, 2 * lower, 2)]
    return (*slopes, *between[: num_heads - lower])


class AlibiAttention(ScaledDotProductAttention):
    """score(q_t, k_s) = q · k / sqrt(K) - m_head · |t - s|: Press et al. 2022, "Train Short, Test Long: Attention with
    Linear Biases Enables Input Length Extrapolation" (ALiBi), 3.

    The paper attends to the past alone: give a causal mask for that. Without one, keys after the query are as far as
    those before it. Queries stand at the last T of the S positions; nothing is learned and no position is out of
    range. The heads are the axis before T. Raises ValueError if there is no head.
    """

    slopes: Tensor

    def __init__(self, num_heads: int, dropout: float = 0.0) -> None:
        super().__init__(dropout)
        self.register_buffer("slopes", torch.tensor(alibi_slopes(num_heads)), persistent=False)

    def score(self, query: Tensor, key: Tensor) -> Tensor:
        """Scaled products less slope times distance: (...,H,T,K), (...,H,S,K) -> (...,H,T,S).

        Raises ValueError if query and key differ in K, or do not have the mechanism's heads.
        """
        scores = super().score(query, key)
        distances = key_offsets(scores.shape[-2], scores.shape[-1], scores.device).abs()  # (T,S)
        # At least float32: half precision cannot count far.
        slopes = self.slopes.to(torch.promote_types(scores.dtype, torch.float32))
        return add_head_bias(scores, (-slopes[:, None, None] * distances).to(scores.dtype))

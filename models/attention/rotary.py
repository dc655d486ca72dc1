"""Rotary positions: query and key are turned by their position, so that their product sees only the distance."""

import math

import torch
from torch import Tensor

from models.attention.mechanism import check_width
from models.attention.offsets import query_positions
from models.attention.positions import LONGEST_WAVELENGTH
from models.attention.scaled_dot_product import ScaledDotProductAttention


def rotate(vectors: Tensor, positions: Tensor, base: float = LONGEST_WAVELENGTH) -> Tensor:
    """Turns the pair of columns (2i, 2i+1) by the angle p · base^(-2i/K): (...,L,K), positions (L,) -> (...,L,K).

    Su et al. 2021, equation 34. Angles are computed in at least float32, because half precision cannot count far.
    Raises ValueError if K is odd.
    """
    width = vectors.shape[-1]
    if width % 2 != 0:
        raise ValueError(f"vectors must have an even width, whose columns are turned in pairs, not {width}")
    dtype = torch.promote_types(vectors.dtype, torch.float32)
    exponents = torch.arange(0, width, 2, dtype=dtype, device=vectors.device) / width
    frequencies = torch.exp(exponents * -math.log(base))
    angles = positions.unsqueeze(-1) * frequencies  # (L,1) * (K/2,) -> (L,K/2)
    sine, cosine = angles.sin().to(vectors.dtype), angles.cos().to(vectors.dtype)
    even, odd = vectors[..., 0::2], vectors[..., 1::2]
    turned = torch.stack((even * cosine - odd * sine, even * sine + odd * cosine), dim=-1)  # (...,L,K/2,2)
    return turned.flatten(-2)


class RotaryAttention(ScaledDotProductAttention):
    """score(q_t, k_s) = R_t q · R_s k / sqrt(K), R_p turning by position p: Su et al. 2021, "RoFormer: Enhanced
    Transformer with Rotary Position Embedding", 3.2.2, equations 14 to 16 and 34.

    The score depends on positions through t - s alone. Keys stand at 0 to S-1 and queries at the last T of these.
    Nothing is learned and no position is out of range. Raises ValueError if `base` is not positive.
    """

    def __init__(self, dropout: float = 0.0, base: float = LONGEST_WAVELENGTH) -> None:
        super().__init__(dropout)
        if not base > 0:
            raise ValueError(f"base must be positive, not {base}")
        self.base = base

    def score(self, query: Tensor, key: Tensor) -> Tensor:
        """Products of turned vectors: (...,T,K), (...,S,K) -> (...,T,S).

        Raises ValueError if query and key differ in K, or K is odd.
        """
        check_width("key", key, query.shape[-1])
        target, source = query.shape[-2], key.shape[-2]
        return super().score(
            rotate(query, query_positions(target, source, query.device), self.base),
            rotate(key, torch.arange(source, device=key.device), self.base),
        )

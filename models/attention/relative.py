"""Relative positions as a learned bias on the scores, one number for each head and range of distances."""

import torch
from torch import Tensor, nn

from models.attention.offsets import add_head_bias, key_offsets
from models.attention.scaled_dot_product import ScaledDotProductAttention


def distance_buckets(num_buckets: int, max_distance: int) -> tuple[int, ...]:
    """The bucket of each distance 0 to `max_distance`; what lies further has the bucket of the last.

    The first half of the buckets are single distances, the others grow logarithmically up to `max_distance`: with
    e = num_buckets / 2 exact ones, distance n >= e falls in e + floor(e · log(n/e) / log(max_distance/e)), at most
    num_buckets - 1 (Raffel et al. 2020, 2.1, by their reference code). Worked out in whole numbers, because in
    floating point a boundary may fall on either side.
    Raises ValueError if `num_buckets` is below 2, or `max_distance` is not beyond the exact buckets.
    """
    exact = num_buckets // 2
    if exact < 1 or max_distance <= exact:
        raise ValueError(f"{num_buckets} buckets a direction cannot be spread up to distance {max_distance}")
    growing = num_buckets - exact

    def reached(distance: int, step: int) -> bool:
        """Whether (distance/exact)^growing >= (max_distance/exact)^step, without division."""
        return bool(distance**growing * exact**step >= max_distance**step * exact**growing)

    beyond = (
        exact + max(step for step in range(growing) if reached(distance, step))
        for distance in range(exact, max_distance + 1)
    )
    return (*range(exact), *beyond)


class RelativeBiasAttention(ScaledDotProductAttention):
    """score(q_t, k_s) = q · k / sqrt(K) + b[head, bucket(s - t)]: Raffel et al. 2020, "Exploring the Limits of
    Transfer Learning with a Unified Text-to-Text Transformer" (T5), 2.1.

    T5 itself leaves out the division by sqrt(K) and starts from smaller weights instead. `bidirectional` keeps half of
    the buckets for keys after the query; without it they all share the bucket of distance zero, which is for use under
    a causal mask. Queries stand at the last T of the S positions. The heads are the axis before T.

    Raises ValueError if there is no head, the buckets are odd though `bidirectional`, or too few or too many for
    `max_distance`.
    """

    buckets: Tensor

    def __init__(
        self,
        num_heads: int,
        *,
        num_buckets: int = 32,
        max_distance: int = 128,
        bidirectional: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(dropout)
        if num_heads < 1:
            raise ValueError(f"num_heads must be positive, not {num_heads}")
        if bidirectional and num_buckets % 2 != 0:
            raise ValueError(f"num_buckets must be even for two directions, not {num_buckets}")
        self.bidirectional = bidirectional
        self.buckets_a_direction = num_buckets // 2 if bidirectional else num_buckets
        self.max_distance = max_distance
        table = torch.tensor(distance_buckets(self.buckets_a_direction, max_distance))
        self.register_buffer("buckets", table, persistent=False)
        self.bias = nn.Embedding(num_buckets, num_heads)
        nn.init.normal_(self.bias.weight, std=0.02)

    def score(self, query: Tensor, key: Tensor) -> Tensor:
        """Scaled products, biased: (...,H,T,K), (...,H,S,K) -> (...,H,T,S).

        Raises ValueError if query and key differ in K, or do not have the mechanism's heads.
        """
        scores = super().score(query, key)
        offsets = key_offsets(scores.shape[-2], scores.shape[-1], scores.device)
        bias: Tensor = self.bias(self.bucket(offsets))  # (T,S) -> (T,S,H)
        return add_head_bias(scores, bias.permute(2, 0, 1))

    def bucket(self, offsets: Tensor) -> Tensor:
        """Which bucket each offset s - t is in: int64 of any shape -> int64 of that shape."""
        if not self.bidirectional:
            past: Tensor = self.buckets[(-offsets).clamp(min=0, max=self.max_distance)]
            return past
        near: Tensor = self.buckets[offsets.abs().clamp(max=self.max_distance)]
        return near + (offsets > 0) * self.buckets_a_direction

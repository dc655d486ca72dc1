"""Pointing: the weights themselves are the answer, a distribution over the positions of the input."""

import torch
from torch import Tensor, nn

from models.attention.masks import check_mask
from models.attention.mechanism import Attended, Mechanism


class PointerAttention(nn.Module):
    """p(position s | t) = softmax over s of score(q_t, k_s): Vinyals et al. 2015, "Pointer Networks", 2.3, equation 3.

    The paper's score is v · tanh(W_1 e_s + W_2 d_t), which is `AdditiveAttention`; any `mechanism` will do.
    """

    def __init__(self, mechanism: Mechanism) -> None:
        super().__init__()
        self.mechanism = mechanism

    def forward(self, query: Tensor, key: Tensor, mask: Tensor | None = None) -> Attended:
        """Points into the keys: (...,T,Kq), (...,S,Kk) -> context (...,T,Kk), their mean; weights (...,T,S), p.

        `mask` is bool, broadcasts to (...,T,S), True may be pointed at; a query with nothing to point at gets zeros.
        Raises ValueError if the widths do not suit the mechanism or the mask does not fit.
        """
        attended: Attended = self.mechanism(query, key, key, mask)
        return attended

    def log_weights(self, query: Tensor, key: Tensor, mask: Tensor | None = None) -> Tensor:
        """Logarithm of p, for a loss: (...,T,Kq), (...,S,Kk) -> (...,T,S), -inf where masked.

        Exact where p itself would round to zero. Raises ValueError as `forward` does.
        """
        scores = self.mechanism.score(query, key)
        if mask is None:
            return torch.log_softmax(scores, dim=-1)
        check_mask(mask, scores.shape)
        lowest = torch.finfo(scores.dtype).min  # not -inf, which would make a wholly masked row NaN
        return torch.log_softmax(scores.masked_fill(~mask, lowest), dim=-1).masked_fill(~mask, float("-inf"))

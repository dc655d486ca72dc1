"""Bilinear attention: a learned matrix between query and key."""

import torch
from torch import Tensor, nn

from models.attention.mechanism import Mechanism, check_width


class BilinearAttention(Mechanism):
    """score(q, k) = q · W k, the score called "general" by Luong et al. 2015, 3.1. Widths may differ."""

    def __init__(self, d_query: int, d_key: int, dropout: float = 0.0) -> None:
        super().__init__(dropout)
        self.weight = nn.Parameter(torch.empty(d_query, d_key))
        nn.init.xavier_uniform_(self.weight)

    def score(self, query: Tensor, key: Tensor) -> Tensor:
        """Products through W: (...,T,Kq), (...,S,Kk) -> (...,T,S).

        Raises ValueError if query or key is not as wide as the mechanism was built for.
        """
        check_width("query", query, self.weight.shape[0])
        check_width("key", key, self.weight.shape[1])
        return bilinear_score(query, self.weight, key)


def bilinear_score(query: Tensor, weight: Tensor, key: Tensor) -> Tensor:
    """Products through a matrix: (...,T,Kq), (Kq,Kk) or (...,Kq,Kk), (...,S,Kk) -> (...,T,S)."""
    return query @ weight @ key.transpose(-2, -1)  # (...,T,Kq) @ (Kq,Kk) @ (...,Kk,S)

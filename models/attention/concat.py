"""Concat attention: a perceptron scores each query joined to each key."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.attention.additive import additive_score
from models.attention.mechanism import Mechanism, check_width


class ConcatAttention(Mechanism):
    """score(q, k) = v · tanh(W [q; k]), the score called "concat" by Luong et al. 2015, 3.1. Widths may differ.

    W [q; k] is W_q q + W_k k with the columns of W split between the two, so that this is additive attention with its
    two matrices stored as one. It is computed that way: the T*S joined vectors are never built, though the
    T*S*`d_hidden` hidden numbers are.
    """

    def __init__(self, d_query: int, d_key: int, d_hidden: int, dropout: float = 0.0) -> None:
        super().__init__(dropout)
        self.d_query, self.d_key = d_query, d_key
        self.weight = nn.Parameter(torch.empty(d_hidden, d_query + d_key))
        self.combine = nn.Parameter(torch.empty(d_hidden))
        nn.init.xavier_uniform_(self.weight)
        nn.init.normal_(self.combine, std=d_hidden**-0.5)

    def score(self, query: Tensor, key: Tensor) -> Tensor:
        """Scores by perceptron: (...,T,Kq), (...,S,Kk) -> (...,T,S).

        Raises ValueError if query or key is not as wide as the mechanism was built for.
        """
        check_width("query", query, self.d_query)
        check_width("key", key, self.d_key)
        target = functional.linear(query, self.weight[:, : self.d_query])  # (...,T,Kq) -> (...,T,d_hidden)
        source = functional.linear(key, self.weight[:, self.d_query :])  # (...,S,Kk) -> (...,S,d_hidden)
        return additive_score(target, source, self.combine)

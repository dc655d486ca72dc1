"""Additive attention: a small multi-layer perceptron scores each pair of query and key."""

import torch
from torch import Tensor, nn

from models.attention.mechanism import Mechanism, check_width


class AdditiveAttention(Mechanism):
    """score(q, k) = v · tanh(W q + U k): Bahdanau et al. 2015, "Neural Machine Translation by Jointly Learning to
    Align and Translate", A.1.2. Widths may differ; no biases, as in the paper.

    It holds T*S*`d_hidden` numbers at once where the products hold T*S.
    """

    def __init__(self, d_query: int, d_key: int, d_hidden: int, dropout: float = 0.0) -> None:
        super().__init__(dropout)
        self.project_query = nn.Linear(d_query, d_hidden, bias=False)
        self.project_key = nn.Linear(d_key, d_hidden, bias=False)
        self.combine = nn.Parameter(torch.empty(d_hidden))
        nn.init.normal_(self.combine, std=d_hidden**-0.5)

    def score(self, query: Tensor, key: Tensor) -> Tensor:
        """Scores by perceptron: (...,T,Kq), (...,S,Kk) -> (...,T,S).

        Raises ValueError if query or key is not as wide as the mechanism was built for.
        """
        check_width("query", query, self.project_query.in_features)
        check_width("key", key, self.project_key.in_features)
        return additive_score(self.project_query(query), self.project_key(key), self.combine)


def additive_score(query: Tensor, key: Tensor, combine: Tensor) -> Tensor:
    """Compares what is already projected: (...,T,d_hidden), (...,S,d_hidden) -> (...,T,S).

    `combine` is (...,d_hidden), its leading axes as those of the query: one vector for each row, or one for all.
    """
    hidden = torch.tanh(query.unsqueeze(-2) + key.unsqueeze(-3))  # (...,T,1,d) + (...,1,S,d) -> (...,T,S,d)
    return (hidden @ combine[..., None, :, None]).squeeze(-1)  # (...,T,S,d) @ (...,1,d,1) -> (...,T,S)

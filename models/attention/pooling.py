"""Attention pooling: one learned query sums up a whole sequence."""

import torch
from torch import Tensor, nn

from models.attention.masks import masked_softmax
from models.attention.mechanism import Attended, check_width


class AttentionPooling(nn.Module):
    """weights = softmax over s of u · tanh(W x_s + b), context = their mean of x: Yang et al. 2016, "Hierarchical
    Attention Networks for Document Classification", 2.2, equations 5 to 7; u is the learned query.
    """

    def __init__(self, d_model: int, d_hidden: int | None = None) -> None:
        super().__init__()
        d_hidden = d_model if d_hidden is None else d_hidden
        self.project = nn.Linear(d_model, d_hidden)
        self.query = nn.Parameter(torch.empty(d_hidden))
        nn.init.normal_(self.query, std=d_hidden**-0.5)

    def forward(self, source: Tensor, mask: Tensor | None = None) -> Attended:
        """Sums up a sequence: (...,S,D), mask (...,S) -> context (...,D), weights (...,S); there is no target axis.

        A sequence that is masked as a whole, or empty, gives zeros.
        Raises ValueError if the width is not the pooling's or the mask does not fit.
        """
        weights = masked_softmax(self.score(source), mask)
        context = (weights.unsqueeze(-2) @ source).squeeze(-2)  # (...,1,S) @ (...,S,D) -> (...,D)
        return Attended(context, weights)

    def score(self, source: Tensor) -> Tensor:
        """How much each position counts, before the softmax: (...,S,D) -> (...,S).

        Raises ValueError if the width is not the pooling's.
        """
        check_width("source", source, self.project.in_features)
        hidden = torch.tanh(self.project(source))  # (...,S,D) -> (...,S,d_hidden)
        scores: Tensor = (hidden @ self.query.unsqueeze(-1)).squeeze(-1)  # (...,S,d_hidden) -> (...,S)
        return scores

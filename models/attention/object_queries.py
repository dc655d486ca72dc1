"""Learned queries that each ask a source for one thing, whatever its length: the slots of DETR."""

import torch
from torch import Tensor, nn

from models.attention.mechanism import Attended, check_width
from models.attention.multi_head import MultiHeadAttention


class ObjectQueries(nn.Module):
    """N learned queries attend over a source: Carion et al. 2020, "End-to-End Object Detection with Transformers"
    (DETR), 3.2 and A.3.

    The queries differ only in what was learned, so that each comes to look for another place or kind of object, and
    all are answered at once. `d_source` is the width of the source where it is not `d_model`.
    Raises ValueError if there is no query, or `d_model` does not divide into `num_heads` heads.
    """

    def __init__(
        self, num_queries: int, d_model: int, num_heads: int, *, d_source: int | None = None, dropout: float = 0.0
    ) -> None:
        super().__init__()
        if num_queries < 1:
            raise ValueError(f"num_queries must be positive, not {num_queries}")
        self.attention = MultiHeadAttention(d_model, num_heads, d_source=d_source, dropout=dropout)
        self.queries = nn.Parameter(torch.empty(num_queries, d_model))
        nn.init.normal_(self.queries)

    def forward(self, source: Tensor, mask: Tensor | None = None, positions: Tensor | None = None) -> Attended:
        """Asks the source: (B,S,d_source) -> context (B,N,D), weights (B,H,N,S).

        `mask` is bool, broadcasts to (B,H,N,S), True may attend. `positions`, (S,d_source) or (B,S,d_source), is added
        to the keys and not to the values (A.3): where something is decides who asks, not what is answered.
        Raises ValueError if a width or the positions' shape is not the source's, or the mask does not fit.
        """
        check_width("source", source, self.attention.project_key.in_features)
        key = source
        if positions is not None:
            if positions.shape[-2:] != source.shape[-2:] or positions.dim() > source.dim():
                raise ValueError(f"positions of {tuple(positions.shape)} do not fit a source of {tuple(source.shape)}")
            key = source + positions
        queries = self.queries.expand(source.shape[0], -1, -1)  # (N,D) -> (B,N,D)
        attended: Attended = self.attention(queries, key, source, mask)
        return attended

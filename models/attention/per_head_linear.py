"""Self-attention whose heads each project their own slice of the width: the form in which it is often taught."""

import torch
from torch import Tensor, nn

from models.attention.mechanism import Attended, check_width
from models.attention.scaled_dot_product import ScaledDotProductAttention


class PerHeadLinearAttention(nn.Module):
    """Cuts the width into H slices of K = D/H; each head projects its slice to query, key and value by three K-by-K
    linear maps of its own and attends; the heads' contexts stand side by side again.

    It is the multi-head attention of Vaswani et al. 2017, 3.2.2, with block-diagonal projections and without the last
    one: a head sees only its own slice, and parameters are 3·D·K in place of 4·D². Hand-written tutorials on vision
    transformers often use it.

    Raises ValueError if `d_model` does not divide into `num_heads` heads.
    """

    def __init__(self, d_model: int, num_heads: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        if num_heads < 1 or d_model < 1 or d_model % num_heads != 0:
            raise ValueError(f"d_model {d_model} does not divide into {num_heads} heads")
        self.d_model = d_model
        width = d_model // num_heads
        self.project_query = nn.ModuleList(nn.Linear(width, width) for _ in range(num_heads))
        self.project_key = nn.ModuleList(nn.Linear(width, width) for _ in range(num_heads))
        self.project_value = nn.ModuleList(nn.Linear(width, width) for _ in range(num_heads))
        self.mechanism = ScaledDotProductAttention(dropout)

    def forward(self, states: Tensor, mask: Tensor | None = None) -> Attended:
        """Attends within a sequence: (B,T,D) -> context (B,T,D), weights (B,H,T,T).

        `mask` is bool, broadcasts to (B,H,T,T), True may attend; a position with none to attend to gets zeros.
        Raises ValueError if the width is not the module's or the mask does not fit.
        """
        check_width("states", states, self.d_model)
        slices = states.chunk(len(self.project_query), dim=-1)  # H times (B,T,K)
        query, key, value = (
            torch.stack([project(part) for project, part in zip(projections, slices, strict=True)], dim=1)
            for projections in (self.project_query, self.project_key, self.project_value)
        )  # each (B,H,T,K)
        context, weights = self.mechanism(query, key, value, mask)
        return Attended(context.transpose(1, 2).flatten(2), weights)  # (B,H,T,K) -> (B,T,H,K) -> (B,T,D)

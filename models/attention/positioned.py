"""Self-attention over inputs to which their absolute positions are added."""

import torch
from torch import Tensor, nn

from models.attention.mechanism import Attended, check_width
from models.attention.multi_head import MultiHeadAttention


class PositionedSelfAttention(nn.Module):
    """context = attend(x + p), p the vectors of positions 0 to T-1: Vaswani et al. 2017, 3.5.

    `positions` maps int64 (T,) to (T,D): `SinusoidalPositions` or `LearnedPositions`.
    """

    def __init__(self, positions: nn.Module, attention: MultiHeadAttention) -> None:
        super().__init__()
        self.positions = positions
        self.attention = attention

    def forward(self, states: Tensor, mask: Tensor | None = None) -> Attended:
        """Attends among positioned inputs: (B,T,D), mask over (B,H,T,T) -> context (B,T,D), weights (B,H,T,T).

        Raises ValueError if the width is not the attention's or the mask does not fit, and IndexError if T is beyond a
        learned table.
        """
        check_width("states", states, self.attention.project_query.in_features)
        positions = self.positions(torch.arange(states.shape[1], device=states.device))  # (T,D)
        attended: Attended = self.attention(states + positions, mask=mask)
        return attended

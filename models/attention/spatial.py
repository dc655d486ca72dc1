"""Self-attention over the cells of a feature map, gated so that it starts as the identity."""

import torch
from torch import Tensor, nn

from models.attention.dot import DotAttention
from models.attention.mechanism import Attended

# Query and key need far fewer channels than the value: C/8 lost nothing in the paper's experiments (section 3).
KEY_REDUCTION = 8


class SpatialSelfAttention(nn.Module):
    """y = gamma * attention(x) + x over all cells: Zhang et al. 2019, "Self-Attention Generative Adversarial
    Networks" (SAGAN), 3, with 1x1 convolutions to C/8 channels for query and key, and to C for the value.

    The learned gate gamma starts at zero: the network first relies on its convolutions and then learns how much weight
    to give to what lies far away. Scores are plain dot products, as in the paper.

    Raises ValueError if `channels` is not positive.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        if channels < 1:
            raise ValueError(f"channels must be positive, not {channels}")
        d_key = max(1, channels // KEY_REDUCTION)
        self.project_query = nn.Conv2d(channels, d_key, kernel_size=1)
        self.project_key = nn.Conv2d(channels, d_key, kernel_size=1)
        self.project_value = nn.Conv2d(channels, channels, kernel_size=1)
        self.mechanism = DotAttention()
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, features: Tensor) -> Attended:
        """Lets each cell gather from all cells: (B,C,h,w) -> context (B,C,h,w), weights (B,1,h*w,h*w).

        Cells are counted row by row: cell i lies in row i // w, column i % w. The second axis of the weights is the
        one head, so that they look like those of `MultiHeadAttention`.
        Raises ValueError if the map does not have the module's channels.
        """
        if features.dim() != 4 or features.shape[1] != self.project_value.in_channels:
            raise ValueError(
                f"features must be (B,{self.project_value.in_channels},h,w), not of shape {tuple(features.shape)}"
            )
        gathered, weights = self.mechanism(
            self._cells(self.project_query(features)),
            self._cells(self.project_key(features)),
            self._cells(self.project_value(features)),
        )
        # (B,h*w,C) -> (B,C,h*w) -> (B,C,h,w)
        gathered = gathered.transpose(1, 2).unflatten(2, features.shape[2:])
        return Attended(self.gamma * gathered + features, weights.unsqueeze(1))

    @staticmethod
    def _cells(features: Tensor) -> Tensor:
        """Lays the cells out as a sequence: (B,C,h,w) -> (B,C,h*w) -> (B,h*w,C)."""
        return features.flatten(2).transpose(1, 2)

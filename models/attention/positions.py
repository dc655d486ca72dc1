"""Absolute positions, as vectors to add to what stands there.

Both kinds map position numbers, int64 of any shape, to vectors. The caller makes the numbers, usually
`torch.arange(T)`, so that rows padded on the left, decoding that continues at different positions a row, and packed
sequences need nothing else.
"""

import math

import torch
from torch import Tensor, nn

# Wavelengths run from 2*pi to this many times 2*pi (Vaswani et al. 2017, 3.5).
LONGEST_WAVELENGTH = 10_000.0


class SinusoidalPositions(nn.Module):
    """Sines and cosines of geometrically growing wavelengths: Vaswani et al. 2017, 3.5.

    Column 2i is sin(p / 10000^(2i/D)) and column 2i+1 the cosine of the same angle. Nothing is learned and no position
    is out of range. Raises ValueError if `d_model` is not positive and even.
    """

    frequencies: Tensor

    def __init__(self, d_model: int) -> None:
        super().__init__()
        if d_model < 2 or d_model % 2 != 0:
            raise ValueError(f"d_model must be positive and even for pairs of sine and cosine, not {d_model}")
        exponents = torch.arange(0, d_model, 2, dtype=torch.float32) / d_model
        self.register_buffer("frequencies", torch.exp(exponents * -math.log(LONGEST_WAVELENGTH)), persistent=False)

    def forward(self, positions: Tensor) -> Tensor:
        """Encodes position numbers: int64 (...) -> (...,D)."""
        angles = positions.unsqueeze(-1) * self.frequencies  # (...,1) * (D/2,) -> (...,D/2)
        return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(-2)  # (...,D/2,2) -> (...,D)


class LearnedPositions(nn.Module):
    """A learned vector for each of `max_len` positions: Gehring et al. 2017, "Convolutional Sequence to Sequence
    Learning", 3.1; called equally good in Vaswani et al. 2017, 3.5.
    """

    def __init__(self, d_model: int, max_len: int) -> None:
        super().__init__()
        self.table = nn.Embedding(max_len, d_model)
        nn.init.normal_(self.table.weight, std=0.02)

    def forward(self, positions: Tensor) -> Tensor:
        """Looks position numbers up: int64 (...), each in [0, max_len), -> (...,D).

        Raises IndexError for a position outside the table.
        """
        vectors: Tensor = self.table(positions)
        return vectors

"""Attention mechanisms, one a file, each returning its context together with its weights.

The conventions that every mechanism here keeps:

- Dimension key: `B` batch, `T` target length (queries), `S` source length (keys), `H` heads, `D` model width,
  `K` head width, `C` channels. `...` stands for any leading axes, such as (B,) or (B,H).
- A mechanism that compares queries with keys extends `Mechanism` and defines only `score`; the softmax, the mask, the
  dropout and the mixing of values are written once, in `mechanism.py`. Whatever changes only the scores (a bias over
  distances, a rotation of query and key) is therefore one more `score`, and runs inside `MultiHeadAttention` as it is.
- Everything returns `Attended(context, weights)`. The weights are those of the formula: before dropout, so that they
  sum to one over the keys.
- A mask is bool and True may attend. Masked keys get exactly zero weight; a query with no key to attend to gets zero
  weights and zero context, never NaN. Padding, causality and windows are masks (`masks.py`), not mechanisms.
"""

from models.attention.additive import AdditiveAttention
from models.attention.bilinear import BilinearAttention
from models.attention.dot import DotAttention
from models.attention.masks import causal_mask, combine_masks, masked_softmax, padding_mask
from models.attention.mechanism import Attended, Mechanism
from models.attention.multi_head import MultiHeadAttention
from models.attention.pooling import AttentionPooling
from models.attention.positions import LearnedPositions, SinusoidalPositions
from models.attention.scaled_dot_product import ScaledDotProductAttention
from models.attention.spatial import SpatialSelfAttention

__all__ = [
    "AdditiveAttention",
    "Attended",
    "AttentionPooling",
    "BilinearAttention",
    "DotAttention",
    "LearnedPositions",
    "Mechanism",
    "MultiHeadAttention",
    "ScaledDotProductAttention",
    "SinusoidalPositions",
    "SpatialSelfAttention",
    "causal_mask",
    "combine_masks",
    "masked_softmax",
    "padding_mask",
]

"""Attention mechanisms, one a file, each returning its context together with its weights.

The conventions that every mechanism here keeps:

- Dimension key: `B` batch, `T` target length (queries), `S` source length (keys), `H` heads, `D` model width,
  `K` head width, `C` channels. `...` stands for any leading axes, such as (B,) or (B,H).
- A mechanism that compares queries with keys extends `Mechanism` and defines only `score`; the softmax, the mask, the
  dropout and the mixing of values are written once, in `mechanism.py`. Whatever changes only the scores (a bias over
  distances, a rotation of query and key) is therefore one more `score`, and runs inside `MultiHeadAttention` as it is.
- Everything returns `Attended(context, weights)`. The weights are those of the formula: before dropout, so that they
  sum to one over the keys.
- A mechanism for long inputs holds no T*S numbers: its weights are in a layout of its own, which a `spread_…` function
  lays out over the keys, and its mask is over keys alone, (...,1,S).
- A mask is bool and True may attend. Masked keys get exactly zero weight; a query with no key to attend to gets zero
  weights and zero context, never NaN. Padding, causality and windows are masks (`masks.py`), not mechanisms.
"""

from models.attention.additive import AdditiveAttention
from models.attention.alibi import AlibiAttention
from models.attention.band import spread_band
from models.attention.bilinear import BilinearAttention
from models.attention.block import BlockAttended, BlockAttention, spread_blocks
from models.attention.block_sparse import BlockSparseAttention, spread_block_sparse
from models.attention.concat import ConcatAttention
from models.attention.copying import CopyAttention
from models.attention.dot import DotAttention
from models.attention.global_window import GlobalWindowAttended, GlobalWindowAttention, spread_global_window
from models.attention.grouped_query import GroupedQueryAttention
from models.attention.linear import LinearAttention
from models.attention.location import LocationAttention
from models.attention.location_aware import LocationAwareAttention
from models.attention.masks import causal_mask, combine_masks, masked_softmax, padding_mask
from models.attention.mechanism import Attended, Mechanism
from models.attention.multi_head import MultiHeadAttention
from models.attention.object_queries import ObjectQueries
from models.attention.per_head_linear import PerHeadLinearAttention
from models.attention.pointer import PointerAttention
from models.attention.pooling import AttentionPooling
from models.attention.positioned import PositionedSelfAttention
from models.attention.positions import LearnedPositions, SinusoidalPositions
from models.attention.recurrent import Recurrence
from models.attention.recurrent_decoder import RecurrentDecoder
from models.attention.recurrent_fusion import ConcatFusion, SumFusion
from models.attention.recurrent_pooling import RecurrentPooling
from models.attention.relative import RelativeBiasAttention
from models.attention.rotary import RotaryAttention
from models.attention.scaled_dot_product import ScaledDotProductAttention
from models.attention.sliding_window import SlidingWindowAttention
from models.attention.spatial import SpatialSelfAttention

__all__ = [
    "AdditiveAttention",
    "AlibiAttention",
    "Attended",
    "AttentionPooling",
    "BilinearAttention",
    "BlockAttended",
    "BlockAttention",
    "BlockSparseAttention",
    "ConcatAttention",
    "ConcatFusion",
    "CopyAttention",
    "DotAttention",
    "GlobalWindowAttended",
    "GlobalWindowAttention",
    "GroupedQueryAttention",
    "LearnedPositions",
    "LinearAttention",
    "LocationAttention",
    "LocationAwareAttention",
    "Mechanism",
    "MultiHeadAttention",
    "ObjectQueries",
    "PerHeadLinearAttention",
    "PointerAttention",
    "PositionedSelfAttention",
    "Recurrence",
    "RecurrentDecoder",
    "RecurrentPooling",
    "RelativeBiasAttention",
    "RotaryAttention",
    "ScaledDotProductAttention",
    "SinusoidalPositions",
    "SlidingWindowAttention",
    "SpatialSelfAttention",
    "SumFusion",
    "causal_mask",
    "combine_masks",
    "masked_softmax",
    "padding_mask",
    "spread_band",
    "spread_block_sparse",
    "spread_blocks",
    "spread_global_window",
]

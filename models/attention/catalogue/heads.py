"""Several heads, each with projections of its own, or sharing some."""

from models.attention.catalogue.entry import Catalogued, Scale
from models.attention.catalogue.inputs import HEAD_PAIR_AXES, STATE_AXES, head_pairs, states
from models.attention.grouped_query import GroupedQueryAttention
from models.attention.multi_head import MultiHeadAttention
from models.attention.per_head_linear import PerHeadLinearAttention

GROUPS = 2


def _sharing_heads(scale: Scale) -> int:
    """At least four, so that in two groups neither every head has keys of its own nor all share one."""
    return max(2 * GROUPS, scale.num_heads)


HEADS: tuple[Catalogued, ...] = (
    Catalogued(
        name="multi-head",
        title="Multi-head attention",
        family="heads",
        formula="concat(head_1 … head_H) W_O, head_i = attend(Q W_Qi, K W_Ki, V W_Vi)",
        source="Vaswani et al. 2017, 3.2.2",
        cost="time T·S·D + (T + S)·D², memory H·T·S",
        make=lambda scale: MultiHeadAttention(scale.d_model, scale.num_heads),
        draw=head_pairs,
        dynamic=HEAD_PAIR_AXES,
        order_free=True,
    ),
    Catalogued(
        name="per-head-linear",
        title="Per-head linear self-attention",
        family="heads",
        formula="concat(head_1 … head_H), head_i = attend(x_i W_Qi, x_i W_Ki, x_i W_Vi), x_i the i-th slice of x",
        source="Vaswani et al. 2017, 3.2.2, in the form in which it is taught",
        cost="time T²·D + T·D·K, memory H·T²",
        make=lambda scale: PerHeadLinearAttention(scale.d_model, scale.num_heads),
        draw=states,
        dynamic=STATE_AXES,
        order_free=True,
    ),
    Catalogued(
        name="multi-query",
        title="Multi-query attention",
        family="heads",
        formula="concat(head_1 … head_H) W_O, head_i = attend(Q W_Qi, K W_K, V W_V)",
        source="Shazeer 2019, 3",
        cost="time T·S·D + (T + S)·D², memory H·T·S; of each position K numbers are kept",
        make=lambda scale: GroupedQueryAttention(scale.d_model, _sharing_heads(scale), 1),
        draw=head_pairs,
        dynamic=HEAD_PAIR_AXES,
        order_free=True,
    ),
    Catalogued(
        name="grouped-query",
        title="Grouped-query attention",
        family="heads",
        formula="as multi-query, head_i = attend(Q W_Qi, K W_Kg, V W_Vg), g the group of i",
        source="Ainslie et al. 2023, 2.2",
        cost="time T·S·D + (T + S)·D², memory H·T·S; of each position G·K numbers are kept",
        make=lambda scale: GroupedQueryAttention(scale.d_model, _sharing_heads(scale), GROUPS),
        draw=head_pairs,
        dynamic=HEAD_PAIR_AXES,
        order_free=True,
    ),
)

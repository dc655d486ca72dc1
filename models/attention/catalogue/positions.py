"""Ways to let self-attention know where a position stands."""

from models.attention.alibi import AlibiAttention
from models.attention.catalogue.entry import Catalogued, Scale
from models.attention.catalogue.inputs import HEAD_PAIR_AXES, STATE_AXES, head_pairs, states
from models.attention.mechanism import Mechanism
from models.attention.multi_head import MultiHeadAttention
from models.attention.positioned import PositionedSelfAttention
from models.attention.positions import LearnedPositions, SinusoidalPositions
from models.attention.relative import RelativeBiasAttention
from models.attention.rotary import RotaryAttention


def _multi_head(scale: Scale, mechanism: Mechanism | None = None) -> MultiHeadAttention:
    return MultiHeadAttention(scale.d_model, scale.num_heads, mechanism=mechanism)


POSITIONS: tuple[Catalogued, ...] = (
    Catalogued(
        name="sinusoidal-positions",
        title="Self-attention with sinusoidal positions",
        family="positions",
        formula="x_p + (sin, cos)(p / 10000^(2i/D)), then multi-head self-attention",
        source="Vaswani et al. 2017, 3.5",
        cost="time T²·D + T·D², memory H·T²",
        make=lambda scale: PositionedSelfAttention(SinusoidalPositions(scale.d_model), _multi_head(scale)),
        draw=states,
        dynamic=STATE_AXES,
    ),
    Catalogued(
        name="learned-positions",
        title="Self-attention with learned positions",
        family="positions",
        formula="x_p + e_p, then multi-head self-attention",
        source="Gehring et al. 2017, 3.1",
        cost="time T²·D + T·D², memory H·T² + max_len·D",
        make=lambda scale: PositionedSelfAttention(LearnedPositions(scale.d_model, scale.max_len), _multi_head(scale)),
        draw=states,
        dynamic=STATE_AXES,
    ),
    Catalogued(
        name="rotary",
        title="Rotary positions",
        family="positions",
        formula="score(q_t, k_s) = R_t q · R_s k / √K, R_p turns column pair i by p / 10000^(2i/K)",
        source="Su et al. 2021, 3.2.2",
        cost="as multi-head, and time (T + S)·D for turning",
        make=lambda scale: _multi_head(scale, RotaryAttention()),
        draw=head_pairs,
        dynamic=HEAD_PAIR_AXES,
    ),
    Catalogued(
        name="relative-bias",
        title="Relative position bias (T5)",
        family="positions",
        formula="score(q_t, k_s) = q · k / √K + b[head, bucket(s - t)], buckets logarithmic",
        source="Raffel et al. 2020, 2.1",
        cost="as multi-head, and memory H·T·S for the bias",
        make=lambda scale: _multi_head(scale, RelativeBiasAttention(scale.num_heads)),
        draw=head_pairs,
        dynamic=HEAD_PAIR_AXES,
    ),
    Catalogued(
        name="alibi",
        title="Attention with linear biases (ALiBi)",
        family="positions",
        formula="score(q_t, k_s) = q · k / √K - m_head · |t - s|, m = 2^(-8/H) … 2^-8",
        source="Press et al. 2022, 3",
        cost="as multi-head, and memory H·T·S for the bias",
        make=lambda scale: _multi_head(scale, AlibiAttention(scale.num_heads)),
        draw=head_pairs,
        dynamic=HEAD_PAIR_AXES,
    ),
)

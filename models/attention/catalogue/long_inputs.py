"""Mechanisms whose time and memory grow more slowly than with the square of the length."""

from models.attention.band import spread_band
from models.attention.block import BlockAttention, spread_blocks
from models.attention.block_sparse import BlockSparseAttention, spread_block_sparse
from models.attention.catalogue.entry import Catalogued
from models.attention.catalogue.inputs import NEAR_PAIR_AXES, PAIR_AXES, near_pairs, pairs
from models.attention.global_window import GlobalWindowAttention, spread_global_window
from models.attention.linear import LinearAttention
from models.attention.sliding_window import SlidingWindowAttention

LONG_INPUTS: tuple[Catalogued, ...] = (
    Catalogued(
        name="block",
        title="Block attention",
        family="long inputs",
        formula="context_t = (1 - g_t) attend(q_t, own block) + g_t attend(q_t, block summaries)",
        source="Shen et al. 2018, 3; scores of Vaswani et al. 2017",
        cost="time T·(L + T/L)·K, memory T·(L + T/L), L the block",
        make=lambda scale: BlockAttention(scale.d_model, scale.block),
        draw=near_pairs,
        dynamic=NEAR_PAIR_AXES,
        spread=lambda attended, scale: spread_blocks(attended),
    ),
    Catalogued(
        name="sliding-window",
        title="Sliding-window attention",
        family="long inputs",
        formula="score(q_t, k_s) = q_t · k_s / √K where |t - s| ≤ w",
        source="Beltagy et al. 2020, 3.1",
        cost="time T·w·K, memory T·w",
        make=lambda scale: SlidingWindowAttention(scale.window),
        draw=near_pairs,
        dynamic=NEAR_PAIR_AXES,
        spread=lambda attended, scale: spread_band(attended.weights),
    ),
    Catalogued(
        name="global-window",
        title="Sliding window with global positions",
        family="long inputs",
        formula="score(q_t, k_s) = q_t · k_s / √K where |t - s| ≤ w, t < G or s < G",
        source="Beltagy et al. 2020, 3.1",
        cost="time T·(w + G)·K, memory T·(w + G)",
        make=lambda scale: GlobalWindowAttention(scale.window, num_global=2),
        draw=near_pairs,
        dynamic=NEAR_PAIR_AXES,
        spread=lambda attended, scale: spread_global_window(attended),
    ),
    Catalogued(
        name="block-sparse",
        title="Block-sparse attention",
        family="long inputs",
        formula="score(q_t, k_s) = q_t · k_s / √K where ⌊t/L⌋ = ⌊s/L⌋ or s mod L ≥ L - c",
        source="Child et al. 2019, 4.3",
        cost="time T·(L + c·T/L)·K, memory T·(L + c·T/L), L the block",
        make=lambda scale: BlockSparseAttention(scale.block),
        draw=near_pairs,
        dynamic=NEAR_PAIR_AXES,
        spread=lambda attended, scale: spread_block_sparse(attended.weights, scale.block, 1),
    ),
    Catalogued(
        name="causal-block-sparse",
        title="Causal block-sparse attention",
        family="long inputs",
        formula="as block-sparse, where also s ≤ t",
        source="Child et al. 2019, 4.3",
        cost="time T·(L + c·T/L)·K, memory T·(L + c·T/L), L the block",
        make=lambda scale: BlockSparseAttention(scale.block, 2, causal=True),
        draw=near_pairs,
        dynamic=NEAR_PAIR_AXES,
        spread=lambda attended, scale: spread_block_sparse(attended.weights, scale.block, 2),
        causal=True,
    ),
    Catalogued(
        name="linear",
        title="Linear attention",
        family="long inputs",
        formula="weights = φ(q) · φ(k_s) / Σ_s φ(q) · φ(k_s), φ(x) = elu(x) + 1",
        source="Katharopoulos et al. 2020, 3.2",
        cost="context alone: time (T + S)·K², memory K²; with weights: time T·S·K, memory T·S",
        make=lambda scale: LinearAttention(),
        draw=pairs,
        dynamic=PAIR_AXES,
        order_free=True,
    ),
    Catalogued(
        name="causal-linear",
        title="Causal linear attention",
        family="long inputs",
        formula="as linear, over s ≤ t",
        source="Katharopoulos et al. 2020, 3.3",
        cost="context alone: time and memory S·K²; with weights: time T·S·K, memory T·S",
        make=lambda scale: LinearAttention(causal=True),
        draw=pairs,
        dynamic=PAIR_AXES,
        causal=True,
    ),
)

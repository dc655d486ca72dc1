"""The Transformer's blocks, with the norm before or after each sublayer."""

from collections.abc import Mapping

import torch
from torch import Tensor

from models.attention.catalogue.entry import Catalogued, Scale, Sizes
from models.attention.catalogue.inputs import normal, some_keys
from models.networks.decoder import DecoderBlock, DecoderConfig
from models.networks.encoder import EncoderBlock, EncoderConfig


def _block_states(generator: torch.Generator, sizes: Sizes, scale: Scale) -> dict[str, Tensor]:
    return {
        "hidden": normal(generator, sizes.B, sizes.T, scale.d_model),
        "mask": some_keys(generator, sizes.B, 1, sizes.T, sizes.T),
    }


BLOCK_AXES: Mapping[str, Mapping[int, str]] = {"hidden": {0: "B", 1: "T"}, "mask": {0: "B", 2: "T", 3: "T"}}


def _block_states_and_source(generator: torch.Generator, sizes: Sizes, scale: Scale) -> dict[str, Tensor]:
    states = _block_states(generator, sizes, scale)
    return {
        "hidden": states["hidden"],
        "source": normal(generator, sizes.B, sizes.S, scale.d_model),
        "mask": states["mask"],
        "source_mask": some_keys(generator, sizes.B, 1, sizes.T, sizes.S),
    }


BLOCK_AND_SOURCE_AXES: Mapping[str, Mapping[int, str]] = {
    **BLOCK_AXES,
    "source": {0: "B", 1: "S"},
    "source_mask": {0: "B", 2: "T", 3: "S"},
}


def _encoder_block(scale: Scale, *, norm_first: bool) -> EncoderBlock:
    return EncoderBlock(
        EncoderConfig(
            d_model=scale.d_model, num_heads=scale.num_heads, d_ff=scale.d_ff, dropout=0.0, norm_first=norm_first
        )
    )


def _decoder_block(scale: Scale, *, norm_first: bool) -> DecoderBlock:
    return DecoderBlock(
        DecoderConfig(
            d_model=scale.d_model, num_heads=scale.num_heads, d_ff=scale.d_ff, dropout=0.0, norm_first=norm_first
        )
    )


BLOCKS: tuple[Catalogued, ...] = (
    Catalogued(
        name="encoder-block-post-norm",
        title="Transformer encoder block, post-norm",
        family="blocks",
        formula="norm(x + sublayer(x)), sublayers self-attention and feed-forward",
        source="Vaswani et al. 2017, 3.1",
        cost="time T²·D + T·D·(D + d_ff), memory H·T² + T·d_ff",
        make=lambda scale: _encoder_block(scale, norm_first=False),
        draw=_block_states,
        dynamic=BLOCK_AXES,
        order_free=True,
    ),
    Catalogued(
        name="encoder-block-pre-norm",
        title="Transformer encoder block, pre-norm",
        family="blocks",
        formula="x + sublayer(norm(x)), sublayers self-attention and feed-forward",
        source="Xiong et al. 2020",
        cost="time T²·D + T·D·(D + d_ff), memory H·T² + T·d_ff",
        make=lambda scale: _encoder_block(scale, norm_first=True),
        draw=_block_states,
        dynamic=BLOCK_AXES,
        order_free=True,
    ),
    Catalogued(
        name="decoder-block-post-norm",
        title="Transformer decoder block, post-norm",
        family="blocks",
        formula="norm(x + sublayer(x)), sublayers causal self-attention, cross-attention and feed-forward",
        source="Vaswani et al. 2017, 3.1",
        cost="time (T² + T·S)·D + T·D·(D + d_ff) + S·D², memory H·(T² + T·S) + T·d_ff",
        make=lambda scale: _decoder_block(scale, norm_first=False),
        draw=_block_states_and_source,
        dynamic=BLOCK_AND_SOURCE_AXES,
        causal=True,
    ),
    Catalogued(
        name="decoder-block-pre-norm",
        title="Transformer decoder block, pre-norm",
        family="blocks",
        formula="x + sublayer(norm(x)), sublayers causal self-attention, cross-attention and feed-forward",
        source="Xiong et al. 2020",
        cost="time (T² + T·S)·D + T·D·(D + d_ff) + S·D², memory H·(T² + T·S) + T·d_ff",
        make=lambda scale: _decoder_block(scale, norm_first=True),
        draw=_block_states_and_source,
        dynamic=BLOCK_AND_SOURCE_AXES,
        causal=True,
    ),
)

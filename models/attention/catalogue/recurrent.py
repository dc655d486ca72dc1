"""Attention over recurrent networks: the encoder's pooling, the decoder, and one step of it."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from models.attention.additive import AdditiveAttention
from models.attention.bilinear import BilinearAttention
from models.attention.catalogue.entry import Catalogued, Scale, Sizes
from models.attention.catalogue.inputs import SEQUENCE_AXES, normal, sequence, some_keys
from models.attention.dot import DotAttention
from models.attention.mechanism import Mechanism
from models.attention.recurrent_decoder import RecurrentDecoder
from models.attention.recurrent_pooling import RecurrentPooling


def _decoded(generator: torch.Generator, sizes: Sizes, scale: Scale) -> dict[str, Tensor]:
    return {
        "inputs": normal(generator, sizes.B, sizes.T, scale.d_model),
        "source": normal(generator, sizes.B, sizes.S, scale.d_model),
        "mask": some_keys(generator, sizes.B, sizes.T, sizes.S),
    }


DECODED_AXES: Mapping[str, Mapping[int, str]] = {
    "inputs": {0: "B", 1: "T"},
    "source": {0: "B", 1: "S"},
    "mask": {0: "B", 1: "T", 2: "S"},
}


def _one_step(generator: torch.Generator, sizes: Sizes, scale: Scale) -> dict[str, Tensor]:
    """As `_decoded` with T = 1, and a state: the LSTM's h and c, and the fused state."""
    return {
        **_decoded(generator, Sizes(sizes.B, 1, sizes.S), scale),
        "state": normal(generator, sizes.B, 3, scale.d_model),
    }


def _pooling(scale: Scale, mechanism: Mechanism, **options: Any) -> nn.Module:
    return RecurrentPooling(scale.d_model, scale.d_model, scale.d_model, mechanism, **options)


def _decoder(scale: Scale, mechanism: Mechanism, **options: Any) -> nn.Module:
    return RecurrentDecoder(scale.d_model, scale.d_model, scale.d_model, scale.d_model, mechanism, **options)


RECURRENT: tuple[Catalogued, ...] = (
    Catalogued(
        name="recurrent-pooling-tanh",
        title="Recurrent attention pooling, plain tanh cell",
        family="recurrent",
        formula="h_s = tanh(W_h h_(s-1) + W_x x_s + b), c = attend(h_n, h), h* = tanh(W_c [c; h_n]), y = W_y h* + b_y",
        source="Elman 1990; Luong et al. 2015, 3",
        cost="time S·D² step after step, memory S·D",
        make=lambda scale: _pooling(scale, DotAttention(), cell="tanh"),
        draw=sequence,
        dynamic=SEQUENCE_AXES,
    ),
    Catalogued(
        name="recurrent-pooling-lstm",
        title="Recurrent attention pooling, LSTM cell",
        family="recurrent",
        formula="h_s = LSTM(h_(s-1), x_s), c = attend(h_n, h), h* = g ⊙ h_n + (1 - g) ⊙ W_c c, y = W_y h* + b_y",
        source="Hochreiter and Schmidhuber 1997; Luong et al. 2015, 3.1",
        cost="time S·D² step after step, memory S·D",
        make=lambda scale: _pooling(scale, BilinearAttention(scale.d_model, scale.d_model), cell="lstm", combine="sum"),
        draw=sequence,
        dynamic=SEQUENCE_AXES,
    ),
    Catalogued(
        name="recurrent-pooling-gru",
        title="Recurrent attention pooling, GRU cell, both directions",
        family="recurrent",
        formula="h_s = GRU(h_(s-1), x_s), c = attend(h_n, h), h* = tanh(W_c [c; h_n]), y = W_y h* + b_y",
        source="Cho et al. 2014; Bahdanau et al. 2015, 3.2",
        cost="time S·D² step after step, memory S·D",
        make=lambda scale: _pooling(
            scale,
            AdditiveAttention(2 * scale.d_model, 2 * scale.d_model, scale.d_model),
            cell="gru",
            bidirectional=True,
        ),
        draw=sequence,
        dynamic=SEQUENCE_AXES,
    ),
    Catalogued(
        name="recurrent-decoder-tanh",
        title="Recurrent decoder with attention, plain tanh cell",
        family="recurrent",
        formula="h_t = tanh(W_h h_(t-1) + W_x x_t + b), h*_t = g ⊙ h_t + (1 - g) ⊙ W_c c_t, y_t = W_y h*_t + b_y",
        source="Elman 1990; Luong et al. 2015, 3.1",
        cost="time T·D² step after step, and T·S·D; memory T·S",
        make=lambda scale: _decoder(scale, BilinearAttention(scale.d_model, scale.d_model), cell="tanh", combine="sum"),
        draw=_decoded,
        dynamic=DECODED_AXES,
        order_free=True,
    ),
    Catalogued(
        name="recurrent-decoder-lstm",
        title="Recurrent decoder with attention, LSTM cell",
        family="recurrent",
        formula="h_t = LSTM(h_(t-1), x_t), h*_t = tanh(W_c [c_t; h_t]), y_t = W_y h*_t + b_y",
        source="Luong et al. 2015, 3",
        cost="time T·D² step after step, and T·S·D; memory T·S",
        make=lambda scale: _decoder(scale, DotAttention(), cell="lstm"),
        draw=_decoded,
        dynamic=DECODED_AXES,
        order_free=True,
    ),
    Catalogued(
        name="recurrent-decoder-gru",
        title="Recurrent decoder with attention, GRU cell",
        family="recurrent",
        formula="h_t = GRU(h_(t-1), x_t), h*_t = tanh(W_c [c_t; h_t]), y_t = W_y h*_t + b_y",
        source="Cho et al. 2014; Bahdanau et al. 2015, A.1.2",
        cost="time T·D² step after step, and T·S·d_hidden; memory T·S·d_hidden",
        make=lambda scale: _decoder(scale, AdditiveAttention(scale.d_model, scale.d_model, scale.d_model), cell="gru"),
        draw=_decoded,
        dynamic=DECODED_AXES,
        order_free=True,
    ),
    Catalogued(
        name="recurrent-decoder-step",
        title="Step of a recurrent decoder with input feeding, LSTM cell",
        family="recurrent",
        formula="h_t = LSTM(h_(t-1), [x_t; h*_(t-1)]), c_t = attend(h_t, source), h*_t = tanh(W_c [c_t; h_t])",
        source="Luong et al. 2015, 3.3",
        cost="time D² + S·D, memory S",
        make=lambda scale: _decoder(scale, DotAttention(), cell="lstm", input_feeding=True),
        draw=_one_step,
        dynamic={"inputs": {0: "B"}, "source": {0: "B", 1: "S"}, "mask": {0: "B", 2: "S"}, "state": {0: "B"}},
        order_free=True,
    ),
)

"""Recurrence over a sequence: plain tanh, LSTM or GRU, behind one face that exports with a free length."""

from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from models.attention.mechanism import check_width

Cell = Literal["tanh", "lstm", "gru"]
CELLS: dict[Cell, type[nn.RNN] | type[nn.LSTM] | type[nn.GRU]] = {"tanh": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}

# The gates' order in torch's stacked weights, as places in ONNX's: input, forget, cell, output to input, output,
# forget, cell; and reset, update, new to update, reset, new.
ONNX_GATES: dict[Cell, tuple[int, ...]] = {"tanh": (0,), "lstm": (0, 3, 1, 2), "gru": (1, 0, 2)}
ONNX_OPERATORS: dict[Cell, str] = {"tanh": "RNN", "lstm": "LSTM", "gru": "GRU"}
ONNX_OPSET = 14
"""The opset in which all three operators took the form written here."""


class Recurrence(nn.Module):
    """h_t = f(W_h h_{t-1} + W_x x_t + b), one layer, forwards.

    f is tanh (Elman 1990), an LSTM (Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000) or a
    GRU (Cho et al. 2014, in the form that resets after the product, as in torch). The weights are those of torch's
    module: `rnn` is an `nn.RNN`, `nn.LSTM` or `nn.GRU`, whose two biases add up to b.

    The state is one tensor (B,R,D_hidden): h alone, R = 1, or h and the LSTM's c, R = 2.
    Raises ValueError if a width is not positive or the cell is none of these.
    """

    def __init__(self, cell: Cell, d_input: int, d_hidden: int) -> None:
        super().__init__()
        if cell not in CELLS:
            raise ValueError(f"cell must be one of {', '.join(CELLS)}, not {cell!r}")
        if d_input < 1 or d_hidden < 1:
            raise ValueError(f"widths must be positive, not d_input {d_input} and d_hidden {d_hidden}")
        self.cell = cell
        self.d_input = d_input
        self.d_hidden = d_hidden
        self.num_states = 2 if cell == "lstm" else 1
        self.rnn = CELLS[cell](d_input, d_hidden, batch_first=True)

    def start(self, inputs: Tensor) -> Tensor:
        """The state before the first step, zeros: inputs (B,...) -> (B,R,d_hidden)."""
        return inputs.new_zeros(inputs.shape[0], self.num_states, self.d_hidden)

    def forward(self, inputs: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Runs over a sequence: (B,T,d_input), state (B,R,d_hidden) -> states h (B,T,d_hidden), the last state.

        Without a state it starts from zeros; with T = 0 the state stays as it was.
        Raises ValueError if a width or the state's shape is not the recurrence's.
        """
        check_width("inputs", inputs, self.d_input)
        state = self.start(inputs) if state is None else state
        if state.shape[1:] != (self.num_states, self.d_hidden):
            raise ValueError(f"state of shape {tuple(state.shape)} is not (B,{self.num_states},{self.d_hidden})")
        rows = state.transpose(0, 1).contiguous()  # (R,B,d_hidden): each row is the state of a module of one layer
        if torch.onnx.is_in_onnx_export():
            hidden, last = self._as_operator(inputs, rows)
        elif inputs.shape[1] == 0:  # which torch's modules refuse
            return inputs.new_zeros(*inputs.shape[:2], self.d_hidden), state
        elif self.cell == "lstm":
            hidden, (hidden_last, cell_last) = self.rnn(inputs, (rows[:1], rows[1:]))
            last = torch.cat((hidden_last, cell_last))
        else:
            hidden, last = self.rnn(inputs, rows)
        return hidden, last.transpose(0, 1)

    def _as_operator(self, inputs: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """The same as one ONNX operator: (B,T,d_input), (R,B,d_hidden) -> (B,T,d_hidden), (R,B,d_hidden).

        Left to itself, torch 2.13's exporter unrolls nn.RNN over the length it was shown, and writes that length into
        the shapes behind nn.LSTM and nn.GRU.
        """
        batch, length = inputs.shape[:2]
        weights = (self._in_onnx_order(self.rnn.weight_ih_l0), self._in_onnx_order(self.rnn.weight_hh_l0))
        bias = torch.cat((self._in_onnx_order(self.rnn.bias_ih_l0), self._in_onnx_order(self.rnn.bias_hh_l0)))
        shape = (1, batch, self.d_hidden)
        attributes: dict[str, Any] = {"hidden_size": self.d_hidden}
        if self.cell == "gru":
            attributes["linear_before_reset"] = 1  # torch's GRU multiplies before it resets
        outputs = torch.onnx.ops.symbolic_multi_out(
            ONNX_OPERATORS[self.cell],
            (inputs.transpose(0, 1), *(weight[None] for weight in weights), bias[None], None, *rows[:, None]),
            attrs=attributes,
            dtypes=[inputs.dtype] * (1 + self.num_states),
            shapes=[(length, *shape), *[shape] * self.num_states],
            version=ONNX_OPSET,
        )
        hidden = outputs[0][:, 0].transpose(0, 1)  # (T,1,B,d_hidden) -> (B,T,d_hidden)
        return hidden, torch.cat(tuple(outputs[1:]))

    def _in_onnx_order(self, stacked: object) -> Tensor:
        """Puts the gates, stacked on the first axis, into ONNX's order."""
        gates = cast(Tensor, stacked).chunk(len(ONNX_GATES[self.cell]))
        return torch.cat([gates[place] for place in ONNX_GATES[self.cell]])

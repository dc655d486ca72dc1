"""A recurrent decoder: each state attends over a source, and state and context together give the output."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from models.attention.masks import check_mask
from models.attention.mechanism import Attended, Mechanism, check_width
from models.attention.recurrent import Cell, Recurrence
from models.attention.recurrent_fusion import Fusion, fusion


class RecurrentlyDecoded(NamedTuple):
    """What a recurrent decoder returns; a step leaves out the axis T.

    context: c_t, the source mixed by the weights, (B,T,d_source).
    weights: the alignment, how much each output took from each source position, (B,T,S).
    outputs: y_t = W_y h*_t + b_y, (B,T,d_output).
    state: what the next step starts from, (B,R,d_hidden).
    """

    context: Tensor
    weights: Tensor
    outputs: Tensor
    state: Tensor


class RecurrentDecoder(nn.Module):
    """h_t = f(W_h h_{t-1} + W_x x_t + b), c_t = attend(h_t, source), h*_t = fuse(h_t, c_t), y_t = W_y h*_t + b_y:
    the order of Luong et al. 2015, 3.

    `mechanism` compares queries of `d_hidden` with keys of `d_source`. With `input_feeding` (3.3) the recurrence reads
    [x_t; h*_{t-1}], so that each step knows what the last one attended to; the state then has one more row, h*. Without
    it the recurrence does not depend on the context, and a whole sequence is one run and one attention.

    The state is (B,R,d_hidden): h, the LSTM's c, h* with input feeding. ONNX export: without input feeding with a free
    length T; with it at T = 1, which is a step.
    """

    def __init__(
        self,
        d_input: int,
        d_source: int,
        d_hidden: int,
        d_output: int,
        mechanism: Mechanism,
        *,
        cell: Cell = "gru",
        combine: Fusion = "concat",
        input_feeding: bool = False,
    ) -> None:
        super().__init__()
        self.d_input = d_input
        self.d_source = d_source
        self.input_feeding = input_feeding
        self.recurrence = Recurrence(cell, d_input + d_hidden if input_feeding else d_input, d_hidden)
        self.mechanism = mechanism
        self.fuse = fusion(combine, d_hidden, d_source)
        self.read_out = nn.Linear(d_hidden, d_output)

    def start(self, source: Tensor) -> Tensor:
        """The state before the first step, zeros: source (B,...) -> (B,R,d_hidden)."""
        num_states = self.recurrence.num_states + self.input_feeding
        return source.new_zeros(source.shape[0], num_states, self.recurrence.d_hidden)

    def forward(
        self, inputs: Tensor, source: Tensor, mask: Tensor | None = None, state: Tensor | None = None
    ) -> RecurrentlyDecoded:
        """Decodes given inputs, while training the shifted targets: (B,T,d_input), (B,S,d_source) -> all T steps.

        `mask` is bool, broadcasts to (B,T,S), True may attend; with no key at all the context is zeros. Without a
        `state` it starts from zeros.
        Raises ValueError if a width or the state's shape is not the decoder's, or the mask does not fit.
        """
        state = self._checked(inputs, source, mask, state)
        if not self.input_feeding:
            hidden, state = self.recurrence(inputs, state)
            (context, weights), fused = self._attend(hidden, source, mask)
            return RecurrentlyDecoded(context, weights, self.read_out(fused), state)
        if mask is not None:
            mask = mask.expand(inputs.shape[0], inputs.shape[1], source.shape[1])
        steps: list[RecurrentlyDecoded] = []
        for t in range(inputs.shape[1]):
            here = slice(t, t + 1)
            steps.append(self._fed_step(inputs[:, here], source, None if mask is None else mask[:, here], state))
            state = steps[-1].state
        return self._joined(steps, inputs, source, state)

    def step(self, inputs: Tensor, state: Tensor, source: Tensor, mask: Tensor | None = None) -> RecurrentlyDecoded:
        """Decodes one more input: (B,d_input), (B,R,d_hidden), (B,S,d_source), mask (B,S) -> a step without axis T.

        Raises ValueError as `forward` does.
        """
        if mask is not None:
            check_mask(mask, source.shape[:2])
            mask = mask.expand(source.shape[:2]).unsqueeze(1)
        context, weights, outputs, state = self(inputs.unsqueeze(1), source, mask, state)
        return RecurrentlyDecoded(context.squeeze(1), weights.squeeze(1), outputs.squeeze(1), state)

    def _fed_step(self, inputs: Tensor, source: Tensor, mask: Tensor | None, state: Tensor) -> RecurrentlyDecoded:
        """One step with input feeding: (B,1,d_input), mask (B,1,S), (B,R,d_hidden) -> a step with T = 1."""
        hidden, recurrent = self.recurrence(torch.cat((inputs, state[:, -1:]), dim=-1), state[:, :-1])
        (context, weights), fused = self._attend(hidden, source, mask)
        return RecurrentlyDecoded(context, weights, self.read_out(fused), torch.cat((recurrent, fused), dim=1))

    def _attend(self, hidden: Tensor, source: Tensor, mask: Tensor | None) -> tuple[Attended, Tensor]:
        """Attends and fuses: (B,T,d_hidden), (B,S,d_source) -> context and weights, h* (B,T,d_hidden)."""
        attended: Attended = self.mechanism(hidden, source, source, mask)
        return attended, self.fuse(hidden, attended.context)

    def _joined(
        self, steps: list[RecurrentlyDecoded], inputs: Tensor, source: Tensor, state: Tensor
    ) -> RecurrentlyDecoded:
        """Lays steps of (B,1,...) side by side; no step at all gives empty axes."""
        if not steps:
            empty = (inputs.shape[0], 0)
            return RecurrentlyDecoded(
                source.new_zeros(*empty, self.d_source),
                source.new_zeros(*empty, source.shape[1]),
                source.new_zeros(*empty, self.read_out.out_features),
                state,
            )
        context, weights, outputs, _ = (torch.cat(parts, dim=1) for parts in zip(*steps, strict=True))
        return RecurrentlyDecoded(context, weights, outputs, state)

    def _checked(self, inputs: Tensor, source: Tensor, mask: Tensor | None, state: Tensor | None) -> Tensor:
        """The state to start from. Raises ValueError as `forward` does."""
        check_width("inputs", inputs, self.d_input)
        check_width("source", source, self.d_source)
        if mask is not None:
            check_mask(mask, torch.Size((inputs.shape[0], inputs.shape[1], source.shape[1])))
        start = self.start(source)
        if state is not None and state.shape[1:] != start.shape[1:]:
            raise ValueError(f"state of shape {tuple(state.shape)} is not (B,{','.join(map(str, start.shape[1:]))})")
        return start if state is None else state

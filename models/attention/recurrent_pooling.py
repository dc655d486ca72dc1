"""A recurrent network that reads a sequence and sums it up by attention over its own states."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from models.attention.masks import check_mask
from models.attention.mechanism import Mechanism, check_width
from models.attention.recurrent import Cell, Recurrence
from models.attention.recurrent_fusion import Fusion, fusion


class RecurrentlyPooled(NamedTuple):
    """What recurrent pooling returns.

    context: c, the states mixed by the weights, (B,D_states).
    weights: how much was taken from each position, (B,S), summing to one or, where all are masked, to zero.
    fused: h* = f(h_n, c), (B,D_states).
    outputs: y = W_y h* + b_y, (B,D_output).
    """

    context: Tensor
    weights: Tensor
    fused: Tensor
    outputs: Tensor


class RecurrentPooling(nn.Module):
    """Runs h_s = f(W_h h_{s-1} + W_x x_s + b) over the sequence, attends from the last state over all of them, fuses
    state and context, and reads out y = W_y h* + b_y: a classifier of sequences, with the scores of Bahdanau et al.
    2015 or Luong et al. 2015 by the `mechanism` given.

    D_states, the width of query, keys and values, is `d_hidden`, or twice that where `bidirectional` runs a second
    recurrence from the end (Schuster and Paliwal 1997); the last state is then the last of each direction. Positions
    that are masked are passed over: they change no state, wherever they stand.
    """

    def __init__(
        self,
        d_input: int,
        d_hidden: int,
        d_output: int,
        mechanism: Mechanism,
        *,
        cell: Cell = "gru",
        combine: Fusion = "concat",
        bidirectional: bool = False,
    ) -> None:
        super().__init__()
        d_states = 2 * d_hidden if bidirectional else d_hidden
        self.forwards = Recurrence(cell, d_input, d_hidden)
        self.backwards = Recurrence(cell, d_input, d_hidden) if bidirectional else None
        self.mechanism = mechanism
        self.fuse = fusion(combine, d_states, d_states)
        self.read_out = nn.Linear(d_states, d_output)

    def forward(self, source: Tensor, mask: Tensor | None = None) -> RecurrentlyPooled:
        """Reads and sums up: (B,S,d_input), mask (B,S) -> context (B,D_states), weights (B,S), fused, outputs.

        Masked elements may be anything, NaN included. A sequence that is masked as a whole, or empty, gives zeros for
        context and weights, and what the fusion and the read-out make of zeros.
        Raises ValueError if the width is not the pooling's or the mask does not fit.
        """
        check_width("source", source, self.forwards.d_input)
        present = self._present(source, mask)
        states, last = run_over_present(self.forwards, source, present)
        if self.backwards is not None:
            reversed_states, first = run_over_present(self.backwards, source.flip(1), present.flip(1))
            states = torch.cat((states, reversed_states.flip(1)), dim=-1)
            last = torch.cat((last, first), dim=-1)
        context, weights = self.mechanism(last.unsqueeze(1), states, states, present.unsqueeze(1))
        context, weights = context.squeeze(1), weights.squeeze(1)  # (B,1,D_states) and (B,1,S)
        fused = self.fuse(last, context)
        return RecurrentlyPooled(context, weights, fused, self.read_out(fused))

    @staticmethod
    def _present(source: Tensor, mask: Tensor | None) -> Tensor:
        """The mask, or one that leaves everything: bool (B,S)."""
        if mask is None:
            return torch.ones(source.shape[:2], dtype=torch.bool, device=source.device)
        check_mask(mask, source.shape[:2])
        return mask.expand(source.shape[:2])


def run_over_present(recurrence: Recurrence, source: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
    """Runs over the present positions alone: (B,S,d_input), bool (B,S) -> states (B,S,d_hidden), last (B,d_hidden).

    The present elements are moved to the front, in order, and their states back to where they came from; the states
    of the others are zeros. `last` is the state after the last present position, zeros where there is none.
    """
    rank = present.long().cumsum(1)
    count = present.sum(dim=1, keepdim=True)
    # Present ones take the places 0 … count-1, the others those from count on: each row is a permutation.
    place = torch.where(present, rank - 1, count + (~present).long().cumsum(1) - 1).unsqueeze(-1)  # (B,S,1)
    moved = source.masked_fill(~present.unsqueeze(-1), 0.0)
    moved = torch.zeros_like(moved).scatter(1, place.expand_as(source), moved)
    states, _ = recurrence(moved)
    started = torch.cat((recurrence.start(source)[:, :1], states), dim=1)  # the state after 0, 1, … S positions
    last = started.gather(1, count.unsqueeze(-1).expand(-1, 1, started.shape[-1])).squeeze(1)
    back = states.gather(1, place.expand(-1, -1, states.shape[-1]))
    return back.masked_fill(~present.unsqueeze(-1), 0.0), last

"""The face of a network that writes token by token: what training, export and verification need to know of one.

    source -> start -> states ┐
                              └> step(tokens) -> logits, states -> step(next tokens) -> …      while it serves
    source, all tokens -> forward -> logits of every place                                     while it trains

Both must agree: the logits after a token are `forward`'s at its place, whatever other rows run beside it.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from server.manifest import AttentionSpec, FixedAxis, GenerationSpec, InputSpec, OutputSpec, StateSpec
from server.tensors import NUMPY_DTYPES, Datatype

TOKENS = "tokens"
LENGTHS = "lengths"
LOGITS = "logits"
INPUT_IDS = "input_ids"
MASK = "mask"
LENGTH = "length"
"""The length axis of what is read: a source, or a prompt."""
NEW = "new"
"""The axis that counts the new tokens of a step."""
POSITION = "position"
"""The axis that counts what a row has written and read so far."""
SOURCE_LENGTHS = "source_lengths"
"""The state that tells how long each row's source is, int32 [row]: what stands behind that is never read."""
MAX_NEW = 64
"""New tokens of one step of a Transformer, at most: a long prefix is read in few runs, and each of them is short."""


class Step(NamedTuple):
    """What a step returns.

    logits: scores of what follows the last of the new tokens, (B,V).
    states: each state that is not constant, as it is afterwards, in the order of `Stepwise.states`.
    attention: weights (B,H,T,S), in the order of the attention outputs; S may count more keys than a row has, and
        their weights are zero. Empty where no maps were asked for.
    """

    logits: Tensor
    states: tuple[Tensor, ...]
    attention: tuple[Tensor, ...]


class Stepwise(nn.Module, ABC):
    """A network that writes token by token, with states that it carries from step to step.

    It reads a source (`encodes`), or nothing but what was written so far. `forward` is teacher-forced: with a source
    `forward(input_ids (B,S), mask (B,S), tokens (B,T))`, without one `forward(tokens (B,T), mask (B,T) or None)`, and
    both return the logits of what follows each token, (B,T,V). Where tokens follow a source, the first of them is the
    start token. Padding stands behind what is real, in sources and in tokens.
    """

    @property
    @abstractmethod
    def inputs(self) -> tuple[InputSpec, ...]:
        """What the model reads: the source and its mask, or the ids that a prompt has."""

    @property
    @abstractmethod
    def outputs(self) -> tuple[OutputSpec, ...]:
        """Of a step, less the states: the logits, and then the attention weights."""

    @property
    @abstractmethod
    def states(self) -> tuple[StateSpec, ...]:
        """What is carried from step to step, in the order in which `step` takes it."""

    @property
    @abstractmethod
    def attention(self) -> tuple[AttentionSpec, ...]:
        """The mechanisms whose weights a step can return."""

    @property
    @abstractmethod
    def generation(self) -> GenerationSpec:
        """The vocabulary's special tokens, and how much may be written."""

    @property
    @abstractmethod
    def maps_cost(self) -> bool:
        """Whether the weights cost a step so much that those who want none should have a graph without them."""

    @property
    def encodes(self) -> bool:
        """Whether there is a source to read before the first step."""
        return any(state.source is not None for state in self.states)

    @property
    def max_new(self) -> int:
        """The most new tokens that a step takes of a row that is alone in it."""
        return self.generation.max_new

    @property
    def takes_lengths(self) -> bool:
        """Whether a step must be told how many positions each row holds."""
        return any(state.length_input is not None for state in self.states)

    def start(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Reads a source, the inputs in order: the states that begin with it, in their order.

        Raises TypeError where there is nothing to read.
        """
        raise TypeError(f"{type(self).__name__} reads no source: its first step needs no start")

    @abstractmethod
    def step(self, tokens: Tensor, lengths: Tensor | None, *states: Tensor, maps: bool = True) -> Step:
        """Writes new tokens behind what each row holds: int64 (B,T), int32 (B) positions held, the states in order.

        Rows may hold different lengths. Append states are buffers, longer than what they hold by T at least; what
        stands behind a row's own positions is never read. More than one new token is for a row by itself.
        """

    def first_states(self, started: Sequence[Tensor], rows: int, capacity: int) -> tuple[Tensor, ...]:
        """All states before the first step: `started` is what `start` returned, empty where there is nothing to read.

        Append states get room for `capacity` positions.
        """
        given = iter(started)
        return tuple(
            next(given) if state.source is not None else _zeros(state, rows, capacity) for state in self.states
        )

    def next_states(self, states: Sequence[Tensor], after: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """All states before the next step: `states` before the last one, `after` what it returned."""
        changed = iter(after)
        return tuple(
            before if state.kind == "constant" else next(changed)
            for state, before in zip(self.states, states, strict=True)
        )


def torch_dtype(datatype: Datatype) -> torch.dtype:
    """What torch calls a datatype of the manifest."""
    return torch.from_numpy(NUMPY_DTYPES[datatype].type(0).reshape(1)).dtype


def _zeros(state: StateSpec, rows: int, capacity: int) -> Tensor:
    sizes = [axis.size if isinstance(axis, FixedAxis) else capacity for axis in state.axes[1:]]
    return torch.zeros(rows, *sizes, dtype=torch_dtype(state.datatype))

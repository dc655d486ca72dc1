"""Readers that write the strip's digits down one after another, each step fed the digit before."""

from abc import abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from examples.mechanism_figures.reader import PLACES, WIDTH, ColumnTokens, Reader, Reading, naming_head, panels
from examples.mechanism_figures.scans import CLASSES
from models.attention import LocationAwareAttention, RecurrentDecoder, SinusoidalPositions
from models.networks.decoder import DecoderBlock

START = CLASSES
"""What stands before the first digit."""


class Step(NamedTuple):
    """What one step leaves: scores (B,10), weights (B,S), and what the next one starts from."""

    scores: Tensor
    weights: Tensor
    state: Tensor


class StepReader(Reader):
    """Goes through the strip step by step; a subclass says what a step is."""

    query = "step"

    def __init__(self, *, positioned: bool = True) -> None:
        super().__init__()
        self.tokens = ColumnTokens(positioned=positioned)
        self.written = nn.Embedding(CLASSES + 1, WIDTH)
        self.head = naming_head()

    @abstractmethod
    def step(self, before: Tensor, columns: Tensor, state: Tensor | None) -> Step:
        """One step: the digit before (B,D), columns (B,S,D), no state at the first."""

    def forward(self, images: Tensor, given: Tensor | None = None) -> Reading:
        """Writes a digit for each place: (B,n,8,8), given (B,n) -> scores (B,n,10)."""
        columns = self.tokens(images)
        digit = torch.full((len(images),), START)
        steps: list[Step] = []
        for place in range(self.num_digits):
            steps.append(self.step(self.written(digit), columns, steps[-1].state if steps else None))
            digit = steps[-1].scores.argmax(-1) if given is None else given[:, place]
        scores = torch.stack([step.scores for step in steps], dim=1)
        return Reading(scores, panels(torch.stack([step.weights for step in steps], dim=1)))


class RecurrentReader(StepReader):
    """Reads by a recurrent decoder, whose outputs are D wide."""

    def __init__(self, decoder: RecurrentDecoder) -> None:
        super().__init__()
        self.decoder = decoder

    def step(self, before: Tensor, columns: Tensor, state: Tensor | None) -> Step:
        """One step of the decoder."""
        state = self.decoder.start(columns) if state is None else state
        _, weights, outputs, state = self.decoder.step(before, state, columns)
        return Step(self.head(outputs), weights, state)


class LocationAwareReader(StepReader):
    """Reads columns that do not know their places: only where it looked last says where to look next.

    A GRU cell that the context drives makes the queries; the state is its state, the context and the weights side by
    side. Before the first step all weight is on the first column.
    """

    def __init__(self, mechanism: LocationAwareAttention) -> None:
        super().__init__(positioned=False)
        self.mechanism = mechanism
        self.cell = nn.GRUCell(2 * WIDTH, WIDTH)

    def step(self, before: Tensor, columns: Tensor, state: Tensor | None) -> Step:
        """One step of cell and mechanism."""
        if state is None:
            weights = torch.zeros(columns.shape[:2])
            weights[:, 0] = 1.0
            state = torch.cat((torch.zeros(len(columns), 2 * WIDTH), weights), dim=1)
        hidden, context, previous = torch.split(state, [WIDTH, WIDTH, columns.shape[1]], dim=1)
        hidden = self.cell(torch.cat((before, context), dim=1), hidden)
        attended = self.mechanism(hidden.unsqueeze(1), columns, columns, previous.unsqueeze(1))
        context, weights = (part.squeeze(1) for part in attended)
        return Step(self.head(context), weights, torch.cat((hidden, context, weights), dim=1))


class BlockReader(Reader):
    """Reads by a Transformer decoder block: what was written attends to itself and then to the strip."""

    query = "step"

    def __init__(self, block: DecoderBlock) -> None:
        super().__init__()
        self.tokens = ColumnTokens()
        self.written = nn.Embedding(CLASSES + 1, WIDTH)
        self.positions = SinusoidalPositions(WIDTH)
        self.block = block
        self.head = nn.Sequential(nn.LayerNorm(WIDTH), naming_head())

    def forward(self, images: Tensor, given: Tensor | None = None) -> Reading:
        """Writes a digit for each place: (B,4,8,8), given (B,4) -> scores (B,4,10)."""
        columns = self.tokens(images)
        written = torch.full((len(images), 1), START)
        if given is not None:
            return self._read(torch.cat((written, given[:, :-1]), dim=1), columns)
        for _ in range(PLACES - 1):
            latest = self._read(written, columns).scores[:, -1:].argmax(-1)
            written = torch.cat((written, latest), dim=1)
        return self._read(written, columns)

    def _read(self, written: Tensor, columns: Tensor) -> Reading:
        """All steps at once: written (B,T), columns (B,S,D) -> scores (B,T,10) and both kinds of weights."""
        hidden = self.written(written) + self.positions(torch.arange(written.shape[1]))
        context, weights, cross_weights = self.block(hidden, columns)
        return Reading(self.head(context), {**panels(cross_weights), "among the steps": weights.mean(1)})

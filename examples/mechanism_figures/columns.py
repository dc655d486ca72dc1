"""A reader in which the columns of the strip attend to one another: each has to name the digit it is part of."""

from collections.abc import Callable
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, nn

from examples.mechanism_figures.reader import WIDTH, ColumnTokens, Layout, Reader, Reading, naming_head, panels
from examples.mechanism_figures.scans import SIDE
from models.attention import Attended, causal_mask


class Causal(nn.Module):
    """Self-attention to oneself and what came before, by a mechanism that takes a mask over all heads."""

    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        self.attention = attention

    def forward(self, states: Tensor) -> Attended:
        """Attends within a sequence: (B,T,D) -> context (B,T,D), weights (B,H,T,T)."""
        attended: Attended = self.attention(states, mask=causal_mask(states.shape[1]))
        return attended


class ColumnReader(Reader):
    """Columns name their digits, from what they gathered alone.

    attention: (B,T,D) -> context (B,T,D) first, and weights that `over_keys` lays out over the columns.
    positioned: whether the columns know their places before they attend.
    last_only: only the last column of each digit is asked, which is when a causal mechanism has seen all of it.
    questions: how many learned tokens stand before the columns; the first of them asks for the first digit, and so on.
    """

    layout: Layout = "square"
    query = "query: column"

    def __init__(
        self,
        attention: nn.Module,
        over_keys: Callable[[Any], Tensor] = attrgetter("weights"),
        *,
        positioned: bool = True,
        last_only: bool = False,
        questions: int = 0,
    ) -> None:
        super().__init__()
        self.tokens = ColumnTokens(positioned=positioned)
        self.attention = attention
        self.over_keys = over_keys
        self.step = SIDE if last_only else 1
        self.asks = "digits (asked at the last column of each)" if last_only else "columns"
        # The last column of a digit, or the first question; and two columns in the midst of a digit.
        self.shown = (-questions if questions else SIDE - 1, 12, 27)
        self.questions = nn.Parameter(torch.randn(questions, WIDTH)) if questions else None
        self.head = naming_head()

    @property
    def num_questions(self) -> int:
        """How many learned tokens stand before the columns."""
        return 0 if self.questions is None else len(self.questions)

    def expected(self, labels: Tensor) -> Tensor:
        """The digits asked for by the questions, and those that the columns are part of: (B,n) -> (B,A)."""
        return torch.cat((labels[:, : self.num_questions], labels.repeat_interleave(SIDE // self.step, dim=1)), dim=1)

    def forward(self, images: Tensor, given: Tensor | None = None) -> Reading:
        """Reads all columns at once: (B,n,8,8) -> scores (B,A,10); `given` is not read."""
        states = self.tokens(images)
        if self.questions is not None:
            states = torch.cat((self.questions.expand(len(images), -1, -1), states), dim=1)
        attended = self.attention(states)
        first = self.num_questions
        asked = torch.cat((attended[0][:, :first], attended[0][:, first + self.step - 1 :: self.step]), dim=1)
        return Reading(self.head(asked), panels(self.over_keys(attended)))

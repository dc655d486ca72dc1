"""Readers that answer with the scans themselves: by pointing at them, or by copying them between words."""

import torch
from torch import Tensor, nn

from examples.mechanism_figures.reader import WIDTH, Reader, Reading
from examples.mechanism_figures.scans import SIDE
from models.attention import CopyAttention, PointerAttention

WORDS = ("<", ".")
"""What the copying reader writes of its own; no digit is among its words."""
LESS, STOP = range(len(WORDS))


class SortingReader(Reader):
    """Goes through the scans of a strip in ascending order of what they show; no digit stands twice.

    Each scan becomes one vector, which does not say where it stands. A GRU cell remembers what was answered before.
    """

    distinct = True
    query = "step"
    key = "scan"

    def __init__(self, num_digits: int) -> None:
        super().__init__()
        self.num_digits = num_digits
        self.encode = nn.Sequential(
            nn.Linear(SIDE * SIDE, 2 * WIDTH),
            nn.GELU(),
            nn.Linear(2 * WIDTH, 2 * WIDTH),
            nn.GELU(),
            nn.Linear(2 * WIDTH, WIDTH),
        )
        self.start = nn.Parameter(torch.zeros(WIDTH))
        self.cell = nn.GRUCell(WIDTH, WIDTH)


class PointingReader(SortingReader):
    """Answers with positions: the weights of the pointer are the answer."""

    asks = "scans"

    def __init__(self, pointer: PointerAttention, num_digits: int) -> None:
        super().__init__(num_digits)
        self.pointer = pointer

    def expected(self, labels: Tensor) -> Tensor:
        """Where the digits stand, the smallest first: (B,n) -> (B,n)."""
        return labels.argsort(dim=1)

    def spelled(self, answer: int, labels: Tensor) -> str:
        """The digit that is pointed at."""
        return str(int(labels[answer]))

    def forward(self, images: Tensor, given: Tensor | None = None) -> Reading:
        """Points at scan after scan: (B,n,8,8), given (B,n) -> scores (B,n,n), the logarithms of the weights."""
        scans = self.encode(images.flatten(2))
        rows = torch.arange(len(images))
        before, hidden = self.start.expand(len(images), -1), torch.zeros(len(images), WIDTH)
        scores: list[Tensor] = []
        weights: list[Tensor] = []
        for place in range(self.num_digits):
            hidden = self.cell(before, hidden)
            scores.append(self.pointer.log_weights(hidden.unsqueeze(1), scans))
            weights.append(self.pointer(hidden.unsqueeze(1), scans).weights)
            before = scans[rows, scores[-1][:, 0].argmax(-1) if given is None else given[:, place]]
        return Reading(torch.cat(scores, dim=1), {"weights": torch.cat(weights, dim=1)})


class CopyingReader(SortingReader):
    """Writes the strip in order as a statement, such as 2 < 5 < 7 . It generates < and the stop, and copies digits.

    Digits are no words of its vocabulary: the scan at place s is word V + s, which only copying can write. There are as
    many scans as the mechanism takes such words.
    """

    asks = "words"

    def __init__(self, copier: CopyAttention) -> None:
        super().__init__(copier.num_extra)
        self.copier = copier
        self.words = nn.Embedding(len(WORDS), WIDTH)
        self.generate = nn.Linear(WIDTH, len(WORDS))

    def expected(self, labels: Tensor) -> Tensor:
        """The statement, a digit and a word in turn: (B,n) -> (B,2·n)."""
        answers = torch.full((len(labels), 2 * self.num_digits), LESS)
        answers[:, 0::2] = labels.argsort(dim=1) + len(WORDS)
        answers[:, -1] = STOP
        return answers

    def spelled(self, answer: int, labels: Tensor) -> str:
        """The word, or the digit that is copied."""
        return WORDS[answer] if answer < len(WORDS) else str(int(labels[answer - len(WORDS)]))

    def forward(self, images: Tensor, given: Tensor | None = None) -> Reading:
        """Writes word after word: (B,n,8,8), given (B,2·n) -> scores (B,2·n,V+n), logarithms of probabilities.

        The panel is what was copied: the weights times 1 - p_gen, so that a generated word leaves its row empty.
        """
        scans = self.encode(images.flatten(2))
        rows = torch.arange(len(images))
        ids = torch.arange(self.num_digits).expand(len(images), -1) + len(WORDS)
        known = torch.cat((self.words.weight.expand(len(images), -1, -1), scans), dim=1)  # as what each is fed back
        before, hidden = self.start.expand(len(images), -1), torch.zeros(len(images), WIDTH)
        scores: list[Tensor] = []
        for place in range(2 * self.num_digits):
            hidden = self.cell(before, hidden)
            query = hidden.unsqueeze(1)
            copied = self.copier(query, scans, before.unsqueeze(1), self.generate(query), ids)
            scores.append(copied.log_probabilities)
            before = known[rows, scores[-1][:, 0].argmax(-1) if given is None else given[:, place]]
        written = torch.cat(scores, dim=1)
        return Reading(written, {"copied, (1 - p_gen) · weights": written[..., len(WORDS) :].exp()})

"""The reference for what a served model writes: PyTorch's own loop, one request at a time, nothing clever.

Greedy search takes the likeliest token at each step, the lowest id of equals. Beam search is that of the `transformers`
library, version 5, with `early_stopping=False`: see `beam_search`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from models.networks.stepwise import Stepwise

NEVER = -1.0e9
"""The score of a hypothesis that is none: below all real ones, yet a number."""


@dataclass(frozen=True, slots=True)
class Written:
    """One text.

    ids: what was written after the prefix, without the token that ended it.
    score: the log probability of these tokens and of that of the end; of beams, over their number to the penalty.
    ended: whether the network ended it; otherwise it was as long as it might be.
    """

    ids: tuple[int, ...]
    score: float
    ended: bool


@dataclass(frozen=True, slots=True)
class Decoded:
    """What was written, best first.

    margin: the least difference between two scores of which the higher one decided something. Another computation of
        the same network agrees with this one wherever it errs by clearly less.
    """

    texts: tuple[Written, ...]
    margin: float


@torch.inference_mode()
def greedy(
    network: Stepwise,
    inputs: Sequence[Tensor] = (),
    *,
    prefix: Sequence[int] = (),
    max_tokens: int | None = None,
    min_tokens: int = 0,
) -> Decoded:
    """Writes one text, token by token the likeliest.

    inputs: of one source, as `network.start` takes them; none where there is no source.
    prefix: tokens between the start and what is written, such as a prompt.
    max_tokens: None: what the network's `generation` says, as far as there is room.
    min_tokens: no token that ends the text is taken before so many new ones.
    Raises ValueError if there is no room for so many tokens.
    """
    end = network.generation.end
    rows = _Rows(network, inputs, prefix, max_tokens)
    ids: list[int] = []
    score, margin = 0.0, math.inf
    while True:
        log_probabilities = rows.log_probabilities(may_end=len(ids) >= min_tokens)[0]
        best, next_best = log_probabilities.sort(descending=True, stable=True).values[:2].tolist()
        token = int(log_probabilities.argmax())  # of equals the first
        score, margin = score + best, min(margin, best - next_best)
        if token in end:
            return Decoded((Written(tuple(ids), score, ended=True),), margin)
        ids.append(token)
        if len(ids) == rows.max_tokens:
            return Decoded((Written(tuple(ids), score, ended=False),), margin)
        rows.write(torch.tensor([[token]]))


@torch.inference_mode()
def beam_search(
    network: Stepwise,
    inputs: Sequence[Tensor] = (),
    *,
    num_beams: int,
    length_penalty: float = 1.0,
    num_sequences: int = 1,
    prefix: Sequence[int] = (),
    max_tokens: int | None = None,
    min_tokens: int = 0,
) -> Decoded:
    """Writes the `num_sequences` best texts found by following `num_beams` at once; the other arguments are `greedy`'s.

    Of all continuations of all beams, the best (1 + number of end tokens) x num_beams are candidates. Those that end,
    or have max_tokens, are finished if they are among the first num_beams, with their log probability over their number
    of tokens to the power of length_penalty as score; the best num_beams of all finished ones are kept. The best
    num_beams candidates that go on are the next beams. It is over when num_beams are finished and the best beam, with
    the penalty of its present length, scores no higher than the worst of them.
    """
    end = network.generation.end
    rows = _Rows(network, inputs, prefix, max_tokens)
    rows.choose([0] * num_beams)
    beams: list[tuple[int, ...]] = [()] * num_beams
    # All beams are still the same: of them, only the first may go on.
    scores = torch.tensor([0.0] + [NEVER] * (num_beams - 1))
    finished = _Finished(num_beams, length_penalty)
    margin = math.inf
    while True:
        length = len(beams[0]) + 1
        log_probabilities = rows.log_probabilities(may_end=length > min_tokens)
        totals = (log_probabilities + scores.unsqueeze(1)).flatten()
        vocabulary = log_probabilities.shape[1]
        values, places = totals.sort(descending=True, stable=True)  # of equals the first beam's lowest id
        candidates = [
            _Candidate(float(value), beams[place // vocabulary] + (place % vocabulary,), place // vocabulary)
            for value, place in zip(values, places[: (1 + len(end)) * num_beams + 1].tolist(), strict=False)
        ]
        stops = [candidate.ids[-1] in end or length == rows.max_tokens for candidate in candidates]
        going_on = [candidate for candidate, stop in zip(candidates, stops, strict=True) if not stop]
        ending = [candidate for candidate, stop in zip(candidates[:num_beams], stops, strict=False) if stop]
        margin = min(
            margin, _gap([candidate.score for candidate in candidates], num_beams), finished.add(ending, length)
        )
        if all(stops):
            break
        margin = min(margin, _gap([candidate.score for candidate in going_on], num_beams))
        going_on = going_on[:num_beams]
        over, difference = finished.unreachable(going_on[0].score, length)
        margin = min(margin, difference)
        if over:
            break
        beams, scores = [beam.ids for beam in going_on], torch.tensor([beam.score for beam in going_on])
        rows.choose([beam.parent for beam in going_on])
        rows.write(torch.tensor([[beam[-1]] for beam in beams]))
    margin = min([margin, *(_gap(finished.scores, place) for place in range(1, num_sequences + 1))])
    return Decoded(tuple(_written(entry, end) for entry in finished.best(num_sequences)), margin)


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A hypothesis: what it wrote, the end included, and the beam that it continues."""

    score: float
    ids: tuple[int, ...]
    parent: int


class _Finished:
    """The best finished hypotheses, at most as many as beams, best first."""

    def __init__(self, num_beams: int, length_penalty: float) -> None:
        self._room = num_beams
        self._penalty = length_penalty
        self._kept: list[_Candidate] = []

    @property
    def scores(self) -> list[float]:
        return [entry.score for entry in self._kept]

    def add(self, ending: Sequence[_Candidate], length: int) -> float:
        """Takes in candidates of so many tokens; how close it was between the last kept and the first dropped one."""
        new = [_Candidate(entry.score / length**self._penalty, entry.ids, entry.parent) for entry in ending]
        # Of equals, the one that was there before.
        ranked = sorted((*self._kept, *new), key=lambda entry: -entry.score)
        self._kept = [entry for entry in ranked if entry.score > NEVER][: self._room]
        return _gap([entry.score for entry in ranked], self._room)

    def unreachable(self, best: float, length: int) -> tuple[bool, float]:
        """Whether a beam of this log probability and length is no better than all finished ones; how close it was."""
        if len(self._kept) < self._room:
            return False, math.inf
        difference = best / length**self._penalty - self._kept[-1].score
        return difference <= 0.0, abs(difference)

    def best(self, count: int) -> list[_Candidate]:
        return self._kept[:count]


class _Rows:
    """The network's rows for one request: one after reading, then as many as were chosen."""

    def __init__(
        self, network: Stepwise, inputs: Sequence[Tensor], prefix: Sequence[int], max_tokens: int | None
    ) -> None:
        """Reads the source, the start and the prefix. Raises ValueError if they leave no room for `max_tokens`."""
        spec = network.generation
        before = (*spec.start, *prefix)
        room = spec.max_length - len(before)
        self.max_tokens = min(spec.max_tokens, room) if max_tokens is None else max_tokens
        if not 0 < self.max_tokens <= room:
            raise ValueError(f"no room for {self.max_tokens} tokens after {len(before)}: at most {room}")
        self._network = network
        started = network.start(*inputs) if network.encodes else ()
        self._states = network.first_states(started, 1, len(before) + self.max_tokens)
        self._held = 0
        for first in range(0, len(before), network.max_new):
            self.write(torch.tensor([before[first : first + network.max_new]]))

    def write(self, tokens: Tensor) -> None:
        """Appends tokens, int64 (B,T)."""
        lengths = torch.full((len(tokens),), self._held, dtype=torch.int32) if self._network.takes_lengths else None
        step = self._network.step(tokens, lengths, *self._states, maps=False)
        self._states = self._network.next_states(self._states, step.states)
        self._held += tokens.shape[1]
        self._logits = step.logits

    def log_probabilities(self, *, may_end: bool) -> Tensor:
        """Of what comes next, (B,V); of what must not come, minus infinity. The others do not share what that had."""
        spec = self._network.generation
        scores = self._logits.float().log_softmax(dim=-1)
        scores[:, list(spec.suppress)] = -math.inf
        if not may_end:
            scores[:, list(spec.end)] = -math.inf
        return scores

    def choose(self, rows: Sequence[int]) -> None:
        """Goes on with these rows, in this order."""
        chosen = torch.tensor(rows)
        self._states = tuple(state.index_select(0, chosen) for state in self._states)
        self._logits = self._logits.index_select(0, chosen)


def _gap(scores: Sequence[float], place: int) -> float:
    """How far the last of the first `place` scores, which descend, is above the next; infinite where one is none."""
    if len(scores) <= place or scores[place] <= NEVER / 2:
        return math.inf
    return scores[place - 1] - scores[place]


def _written(entry: _Candidate, end: Sequence[int]) -> Written:
    ended = entry.ids[-1] in end
    return Written(entry.ids[:-1] if ended else entry.ids, entry.score, ended)

"""Beam search of one request, with the numbers of transformers 5: `generate(num_beams, early_stopping=False)`.

At each step all continuations of all beams are ranked by the sum of their log probabilities, and the best
B * max(2, 1 + end tokens) looked at, so that B of them do not end. Those that end and are among the first B become
hypotheses, with their sum over their length (the end token counts) to the power of the length penalty; the best B
hypotheses are kept. The B best that do not end run on. The search is done when B hypotheses are kept and the best
beam's sum over its length now, to that power, is not above the worst of them; or when there is no more room: then the
first B continuations become hypotheses as they are. Equals keep the order of beam, then of token.

transformers fills places that no hypothesis or beam has taken with scores of -1e9 and may return such a filling, for
example where the vocabulary has fewer tokens than there are beams. Here such places stay empty: fewer come back.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from server.errors import InferenceFailed
from server.generation.decoding import Decoding
from server.generation.distribution import Scores, largest, top_tokens
from server.generation.result import TopToken


@dataclass(slots=True, eq=False)
class BeamStep:
    """How the beams go on: beam i now is what beam parents[i] was, and tokens[i]; once the search is done, in vain."""

    tokens: NDArray[np.int64]
    """[B]"""
    parents: NDArray[np.int64]
    """[B], counted within the request."""


@dataclass(slots=True, eq=False, kw_only=True)
class Hypothesis:
    """One whole text of a search. `ids`, `logprobs`, `rows` and `top` are of equal length."""

    ids: tuple[int, ...]
    """Without the token that ended it."""
    score: float
    """The sum of log probabilities as they were ranked, that of the end included, over the length to the penalty."""
    ended: bool
    """False: there was no more room."""
    logprobs: tuple[float, ...]
    rows: tuple[int, ...]
    """The beam in whose row each token's logits, and its attention, were computed."""
    top: tuple[tuple[TopToken, ...], ...]
    """The likeliest tokens at each step, if the request asked for them; else empty."""


@dataclass(slots=True, eq=False)
class _Step:
    """What the beams wrote at one step: [B] each; `tops` by the row that it was computed in."""

    tokens: NDArray[np.int64]
    parents: NDArray[np.int64]
    logprobs: Scores
    tops: list[tuple[TopToken, ...]]


@dataclass(slots=True, eq=False)
class _Found:
    """A hypothesis as the search keeps it: its last token, and the beam that this continued at that step."""

    score: np.float32
    step: int
    token: int
    parent: int
    logprob: float
    ended: bool


class Beams:
    """The B beams of one request and the best hypotheses so far.

    `room` is the most new tokens. Raises ValueError if it is below 1.
    """

    def __init__(self, decoding: Decoding, end: Sequence[int], room: int) -> None:
        if room < 1:
            raise ValueError(f"room for {room} tokens; expected at least 1")
        self.done = False
        self._beams = decoding.num_beams
        self._wanted = decoding.num_sequences
        self._power = decoding.length_penalty
        self._top = decoding.top_logprobs
        self._end = np.array(end, np.int64)
        self._room = room
        self._ranked = max(2, 1 + len(self._end)) * self._beams
        self._scores = np.full(self._beams, -np.inf, np.float32)
        self._scores[0] = 0.0  # the beams begin equal: only one of them may count
        self._steps: list[_Step] = []
        self._found: list[_Found] = []

    def advance(self, logprobs: Scores, own: Scores | None = None) -> BeamStep:
        """Takes each beam's log probabilities [B, vocab] and says how the beams go on; only the first row of the first.

        `logprobs` is the log-softmax of the logits as `Sampler.adjusted` changes it, and is what hypotheses are ranked
        by. `own` is the same before that change, [B, vocab], and is what the tokens' log probabilities are reported
        from; None: `logprobs`. A beam that has no continuation but impossible ones runs on as dead weight; its row may
        hold anything, NaN too.
        Raises InferenceFailed if the rows are not as many as the beams, and where no beam can go on and no hypothesis
        was found: a row holds NaN or +inf, or nothing is finite.
        """
        if self.done:
            raise ValueError("the search is done")
        if logprobs.ndim != 2 or len(logprobs) not in (self._beams, 1 if not self._steps else self._beams):
            raise InferenceFailed(f"log probabilities of shape {list(logprobs.shape)} for {self._beams} beams")
        vocab_size = logprobs.shape[1]
        scores = self._continued(logprobs)
        peak = scores.max()
        if np.isnan(peak) or peak == np.inf or (peak == -np.inf and not self._found):
            raise InferenceFailed("the model gave scores from which nothing can be chosen: NaN, or none finite")
        ranked = largest(scores, self._ranked)
        own = logprobs if own is None else own
        with np.errstate(over="ignore"):  # a very negative length penalty takes a sum to -inf
            return self._go_on(scores[ranked], ranked // vocab_size, ranked % vocab_size, own)

    def finished(self) -> list[Hypothesis]:
        """The hypotheses so far, best first, at most `num_sequences`; all there will be once the search is done."""
        return [self._traced(found) for found in self._found[: self._wanted]]

    def _continued(self, logprobs: Scores) -> Scores:
        """The sums of all continuations, [B * vocab], those of dead beams at -inf."""
        if not self._steps:
            first: Scores = logprobs[0].astype(np.float32, copy=False)
            return first
        scores: Scores = np.add(logprobs, self._scores[:, None], dtype=np.float32)
        scores[self._scores == -np.inf] = -np.inf
        return scores.reshape(-1)

    def _go_on(self, scores: Scores, parents: NDArray[np.intp], tokens: NDArray[np.intp], own: Scores) -> BeamStep:
        """Parts the ranked continuations into hypotheses and beams."""
        ends = np.isin(tokens, self._end)
        length = len(self._steps) + 1
        full = length == self._room
        divisor = self._divisor(length)
        for i in np.flatnonzero((ends | full) & (scores > -np.inf) & (np.arange(len(scores)) < self._beams)):
            logprob = float(own[parents[i], tokens[i]])
            self._keep(scores[i] / divisor, int(tokens[i]), int(parents[i]), logprob, bool(ends[i]))
        running = np.flatnonzero(~ends)[: self._beams]
        self._scores = np.full(self._beams, -np.inf, np.float32)
        self._scores[: len(running)] = scores[running]
        # Fewer continuations than beams: the rest repeats the first, and is dead.
        running = np.concatenate([running, np.full(self._beams - len(running), running[0] if len(running) else 0)])
        step = BeamStep(tokens[running].astype(np.int64), parents[running].astype(np.int64))
        tops = [top_tokens(row, self._top) for row in own] if self._top else []
        self._steps.append(_Step(step.tokens, step.parents, own[step.parents, step.tokens], tops))
        best = self._scores[0]
        beaten = len(self._found) == self._beams and not best / divisor > self._found[-1].score
        self.done = bool(full or beaten or best == -np.inf)
        return step

    def _divisor(self, length: int) -> np.float32:
        """What the sums of hypotheses of a length are divided by, within what float32 holds."""
        bounds = np.finfo(np.float32)
        return np.float32(min(max(length**self._power, float(bounds.tiny)), float(bounds.max)))

    def _keep(self, score: np.float32, token: int, parent: int, logprob: float, ended: bool) -> None:
        self._found.append(_Found(score, len(self._steps), token, parent, logprob, ended))
        self._found.sort(key=lambda found: -found.score)  # stable: the earlier first among equals
        del self._found[self._beams :]

    def _traced(self, found: _Found) -> Hypothesis:
        """Follows a hypothesis back to its first token."""
        written = [(found.token, found.logprob, found.parent)]
        for step in reversed(self._steps[: found.step]):
            beam = written[-1][2]
            written.append((int(step.tokens[beam]), float(step.logprobs[beam]), int(step.parents[beam])))
        written.reverse()
        kept = written[:-1] if found.ended else written
        rows = tuple(row for _, _, row in kept)
        tops = (self._steps[i].tops[row] for i, row in enumerate(rows)) if self._top else ()
        return Hypothesis(
            ids=tuple(token for token, _, _ in kept),
            score=float(found.score),
            ended=found.ended,
            logprobs=tuple(logprob for _, logprob, _ in kept),
            rows=rows,
            top=tuple(tops),
        )

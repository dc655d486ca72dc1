"""What each live row writes next: its likeliest token, or one drawn from its own distribution.

Each row's logits pass, in this order, the repetition penalty, `min_tokens` and suppressed tokens, the temperature,
top-k, top-p and min-p; then a token is drawn, or without a temperature the largest taken, the lowest id among equals.
Rows with different parameters share a batch. What a row gets depends on its own logits, parameters, seed and count of
steps only, never on its place or its neighbours.
"""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from server.errors import InferenceFailed
from server.generation.decoding import Decoding
from server.generation.distribution import (
    DRAWS,
    Scores,
    chunks,
    draw,
    keep_likely,
    keep_top_k,
    log_totals,
    top_tokens,
    uniforms,
)
from server.generation.result import TopToken

_ROW = np.dtype(
    [
        ("step", np.int64),
        ("min_tokens", np.int64),
        ("penalty", np.float32),
        ("samples", np.bool_),
        ("temperature", np.float32),
        ("top_k", np.int64),
        ("top_p", np.float64),
        ("min_p", np.float32),
        ("seed", np.int64),
        ("block", np.int64),
        ("top", np.int64),
    ]
)
"""What is known of a row; `block` numbers the uniform numbers at hand, -1: none yet."""

_END, _SUPPRESSED = 1, 2


@dataclass(slots=True, eq=False)
class Chosen:
    """One token for each of the m rows whose logits were given, in their order."""

    tokens: NDArray[np.int64]
    """[m]; -1 for a row that failed."""
    logprobs: NDArray[np.float32]
    """[m], by the model's own distribution: the log-softmax of the untouched logits; NaN for a row that failed."""
    top: dict[int, tuple[TopToken, ...]]
    """The likeliest tokens by that distribution, likeliest first, by the number of each row that asked for them."""
    failed: tuple[int, ...] = ()
    """Places within the m of rows from which nothing can be chosen: a logit is NaN or +inf, or none is finite, or only
    forbidden ones are."""


class Sampler:
    """The rows of a running batch, dense from 0, with their parameters, counts of steps and what they have written.

    `end` and `suppress` are tokens of the vocabulary; a row that joins when `max_rows` are there is refused.
    """

    def __init__(self, vocab_size: int, end: Sequence[int], suppress: Sequence[int], max_rows: int) -> None:
        self._vocab_size = vocab_size
        self._end = np.array(end, np.intp)
        self._suppress = np.array(suppress, np.intp)
        self._kinds = np.zeros(vocab_size, np.int8)
        self._kinds[self._end] = _END
        self._kinds[self._suppress] = _SUPPRESSED
        self._rows = np.zeros(max_rows, _ROW)
        self._draws = np.zeros((max_rows, DRAWS))
        self._written: list[array[int]] = []
        self._particular = 0
        """Rows that want something else than their likeliest token."""

    def __len__(self) -> int:
        return len(self._written)

    def join(self, decoding: Decoding, written: Sequence[int] = ()) -> int:
        """Adds a row at the end and returns its number.

        `written` are tokens that the repetition penalty counts from the first step on: what the decoder was started
        with, the start token included; those outside the vocabulary are never scored, and are left out.
        Raises ValueError if `max_rows` rows are there.
        """
        row = len(self._written)
        if row == len(self._rows):
            raise ValueError(f"all {row} rows are taken")
        self._rows[row] = (
            0,
            decoding.min_tokens,
            decoding.repetition_penalty,
            decoding.samples,
            # What is smaller cannot be divided by in float32, and is as good as greedy.
            max(decoding.temperature, 1e-30),
            decoding.top_k,
            decoding.top_p,
            decoding.min_p,
            decoding.seed,
            -1,
            decoding.top_logprobs,
        )
        self._particular += _is_particular(self._rows[row])
        counted = written if decoding.repetition_penalty != 1.0 else ()
        self._written.append(array("q", (token for token in counted if 0 <= token < self._vocab_size)))
        return row

    def leave(self, row: int) -> None:
        """Forgets a row; the last row takes its number. Raises IndexError if there is no such row."""
        last = len(self._written) - 1
        if not 0 <= row <= last:
            raise IndexError(f"row {row} of {last + 1}")
        self._particular -= _is_particular(self._rows[row])
        self._rows[row] = self._rows[last]
        self._draws[row] = self._draws[last]
        self._written[row] = self._written[last]
        self._written.pop()

    def choose(self, logits: Scores, rows: NDArray[np.intp] | None = None) -> Chosen:
        """Chooses one token for each live row, or for those of `rows`, and counts it as written: [m, vocab] -> [m].

        The logits stay as they are. A row that fails harms no other, and is not counted on.
        Raises InferenceFailed if the logits are not one row of the vocabulary for each row asked.
        """
        rows, logits = self._checked(logits, rows)
        place = np.arange(len(rows))
        tokens = logits.argmax(axis=1).astype(np.int64, copy=False)  # NaN is taken for the largest
        peaks = logits[place, tokens]
        fine = np.isfinite(peaks)
        other = self._want_other(rows, tokens)
        if other.any():
            for drawn in (False, True):
                self._choose_adjusted(
                    logits, rows, np.flatnonzero(other & fine & (self._rows["samples"][rows] == drawn)), tokens
                )
            fine &= tokens >= 0
        offsets = -peaks - log_totals(logits, peaks) if fine.all() else self._offsets(logits, peaks, fine)
        tokens[~fine] = -1
        logprobs = np.where(fine, logits[place, tokens] + offsets, np.float32(np.nan))
        self._rows["step"][rows] += fine
        failed = () if fine.all() else tuple(np.flatnonzero(~fine).tolist())
        if not self._particular:
            return Chosen(tokens, logprobs, {}, failed)
        of = self._rows[rows]
        for i in np.flatnonzero(fine & (of["penalty"] != 1.0)):
            self._written[rows[i]].append(int(tokens[i]))
        top = {
            int(rows[i]): top_tokens(logits[i], int(of["top"][i]), float(offsets[i]))
            for i in np.flatnonzero(fine & (of["top"] > 0))
        }
        return Chosen(tokens, logprobs, top, failed)

    def adjusted(self, logits: Scores, rows: NDArray[np.intp] | None = None) -> Scores:
        """A copy with the repetition penalty applied, and suppressed and too early end tokens at -inf: [m, vocab].

        Beams pass log probabilities, as transformers does: its processors see the log-softmax of the logits, and what
        comes out is added up without normalising it again.
        Raises InferenceFailed as `choose` does.
        """
        rows, logits = self._checked(logits, rows)
        return self._adjust(logits.copy(), rows)

    def record(self, row: int, token: int) -> None:
        """Counts a token that was not chosen here as written, and a step as done."""
        of = self._rows[row]
        of["step"] += 1
        if of["penalty"] != 1.0:
            self._written[row].append(token)

    def reorder(self, rows: Sequence[int] | NDArray[np.intp], parents: Sequence[int] | NDArray[np.intp]) -> None:
        """Lets each of `rows` continue the row of `parents` beside it; comes before `record` of the step's tokens."""
        was = [self._written[parent] for parent in parents]
        for row, parent, written in zip(rows, parents, was, strict=True):
            if row != parent:
                self._written[row] = written[:]

    def _checked(self, logits: Scores, rows: NDArray[np.intp] | None) -> tuple[NDArray[np.intp], Scores]:
        rows = np.arange(len(self._written)) if rows is None else np.asarray(rows, np.intp)
        expected = len(rows), self._vocab_size
        if logits.shape != expected:
            raise InferenceFailed(
                f"the step graph gave logits of shape {list(logits.shape)}; expected {list(expected)}: rows, vocabulary"
            )
        return rows, logits.astype(np.float32, copy=False)

    def _want_other(self, rows: NDArray[np.intp], tokens: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which rows may take another token than their likeliest."""
        kinds = self._kinds[tokens]
        other: NDArray[np.bool_] = kinds == _SUPPRESSED
        if self._particular:
            of = self._rows[rows]
            other |= (kinds == _END) & (of["step"] < of["min_tokens"])
            other |= of["samples"] | (of["penalty"] != 1.0)
        return other

    def _choose_adjusted(
        self, logits: Scores, rows: NDArray[np.intp], places: NDArray[np.intp], tokens: NDArray[np.int64]
    ) -> None:
        """Sets `tokens` at `places`, whose rows either all draw or all take the largest; -1 where nothing is left."""
        for part in chunks(len(places), self._vocab_size):
            at = places[part]
            scores = self._adjust(logits[at], rows[at])
            best = scores.argmax(axis=1)
            peaks = scores[np.arange(len(at)), best]
            fine = np.isfinite(peaks)
            tokens[at] = np.where(fine, best, -1)
            drawn = np.flatnonzero(fine & self._rows["samples"][rows[at]])
            if drawn.size:
                if drawn.size < len(at):
                    scores, peaks = scores[drawn], peaks[drawn]
                tokens[at[drawn]] = self._draw(scores, peaks, rows[at[drawn]])

    def _draw(self, scores: Scores, peaks: Scores, rows: NDArray[np.intp]) -> NDArray[np.intp]:
        """One token a row of adjusted scores, which it overwrites."""
        of = self._rows[rows]
        keep_top_k(scores, of["top_k"])
        scores -= peaks[:, None]
        with np.errstate(over="ignore"):
            scores /= of["temperature"][:, None]
        weights = np.exp(scores, out=scores)
        keep_likely(weights, of["top_p"], of["min_p"])
        return draw(weights, self._uniforms(rows))

    def _uniforms(self, rows: NDArray[np.intp]) -> NDArray[np.float64]:
        """Each row's uniform number of this step, which follows from its seed and the count of its steps."""
        steps = self._rows["step"][rows]
        for row in rows[self._rows["block"][rows] != steps // DRAWS]:
            of = self._rows[row]
            of["block"] = of["step"] // DRAWS
            self._draws[row] = uniforms(int(of["seed"]), int(of["block"]))
        drawn: NDArray[np.float64] = self._draws[rows, steps % DRAWS]
        return drawn

    def _adjust(self, scores: Scores, rows: NDArray[np.intp]) -> Scores:
        of = self._rows[rows]
        counted = np.flatnonzero(of["penalty"] != 1.0)
        if counted.size:
            written = [np.array(self._written[row], np.intp) for row in rows[counted]]
            # A token that was written twice is penalised once: all are read before any is set.
            at = np.repeat(counted, [len(ids) for ids in written]), np.concatenate(written)
            before, by = scores[at], of["penalty"][at[0]]
            with np.errstate(over="ignore", invalid="ignore"):
                scores[at] = np.where(before < 0.0, before * by, before / by)
        if self._suppress.size:
            scores[:, self._suppress] = -np.inf
        early = np.flatnonzero(of["step"] < of["min_tokens"])
        if early.size:
            scores[early[:, None], self._end] = -np.inf
        return scores

    def _offsets(self, logits: Scores, peaks: Scores, fine: NDArray[np.bool_]) -> Scores:
        """What is added to a row's logits to make log probabilities of them; NaN where there are none."""
        offsets = np.full(len(logits), np.nan, np.float32)
        offsets[fine] = -peaks[fine] - log_totals(logits[fine], peaks[fine])
        return offsets


def _is_particular(row: np.void) -> bool:
    return bool(row["samples"] or row["penalty"] != 1.0 or row["min_tokens"] or row["top"])

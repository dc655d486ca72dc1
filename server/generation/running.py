"""The running batch of one lane: rows join it, are stepped, and leave it.

Everything here happens either between two runs, on the event loop's thread, or in a run, in a worker thread; never in
both at once.
"""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from server.clock import Clock
from server.errors import InferenceFailed, ServeError
from server.generation.beams import Beams
from server.generation.distribution import log_softmax
from server.generation.encoding import Start
from server.generation.request import GenerationRequest
from server.generation.result import FinishReason, Weights
from server.generation.rows import LiveRows
from server.generation.sampling import Sampler
from server.generation.slots import Slots
from server.generation.steps import Stepped, Steps, side_by_side
from server.manifest import Manifest, OutputSpec
from server.tensors import Array

log = logging.getLogger(__name__)

_FAILED = "the model failed on this request; the cause is in the server's log"


@dataclass(slots=True, eq=False)
class Ran:
    """What a run was, for costs and metrics."""

    rows: int
    tokens: int
    held: int
    """Positions that its rows held together."""
    seconds: float
    maps: bool = False
    failed: bool = False


class RunningBatch:
    """Live requests and their rows: in the slots, in the sampler, and in the columns that a step reads."""

    def __init__(self, manifest: Manifest, slots: Slots, steps: Steps, max_rows: int, clock: Clock) -> None:
        spec = manifest.generation
        assert spec is not None  # noqa: S101 - the loader makes lanes of generative bundles only
        self.spec = spec
        self.slots = slots
        self.rows: LiveRows[GenerationRequest] = LiveRows(max_rows)
        self.requests: dict[GenerationRequest, None] = {}
        """Live, in the order in which they joined."""
        self._retired: set[GenerationRequest] = set()
        self.finished: list[GenerationRequest] = []
        """Those that need no further step; they leave between runs."""
        self.failed: list[tuple[GenerationRequest, ServeError]] = []
        self.seconds = 0.0
        """Of all runs so far."""
        self.stepped = 0
        self._grown = False
        """Requests have joined since the last step."""
        self._steps = steps
        self._clock = clock
        self._ends = np.zeros(spec.vocab_size + 1, np.bool_)
        """Which tokens end a text; the last place is that of -1, which is none."""
        self._ends[list(spec.end)] = True
        self._sampler = Sampler(spec.vocab_size, spec.end, spec.suppress, max_rows)
        self.growing = manifest.growing
        self._written_keys = {output.name for output in manifest.outputs if self._keys_are_written(output)}

    # --- between runs -------------------------------------------------------------------------------------------------

    @property
    def steppable(self) -> bool:
        """Whether a row can go on."""
        return not self.rows.resting[: self.rows.count].all()

    def reads(self, request: GenerationRequest) -> bool:
        """Whether a live request's prompt is still being read in runs of its own."""
        return request.fed < len(request.feed) and bool(self.rows.resting[request.live[0]])

    def lengths_of(self, requests: Iterable[GenerationRequest]) -> dict[str, int]:
        """The lengths that the states of these may come to."""
        lengths: dict[str, int] = {}
        for request in requests:
            for name, length in (*request.lengths.items(), *((name, request.positions) for name in self.growing)):
                lengths[name] = max(lengths.get(name, 0), length)
        return lengths

    def leave(self, request: GenerationRequest) -> None:
        """Frees a request's rows; harmless for one that is not live."""
        self._free(request)
        self._release()

    def _free(self, request: GenerationRequest) -> None:
        if self.requests.pop(request, 0) == 0:
            return
        self._retired.discard(request)
        for row in sorted(request.live, reverse=True):
            last = self.rows.count - 1
            self.slots.leave(row, self.rows.lengths[: self.rows.count].tolist())
            self._sampler.leave(row)
            moved = self.rows.leave(row)
            if moved is not None:
                moved.live[moved.live.index(last)] = row
        request.live = []
        if not self.rows.count:
            self.slots.clear()

    def retire(self, request: GenerationRequest) -> None:
        """Static batching: a finished request's rows are computed on, to no purpose, until all others are finished."""
        self.rest(request, True)
        self.rows.lengths[request.live] -= 1  # what is fed again must not lie behind the last position
        self._retired.add(request)
        self._release()

    def _release(self) -> None:
        if self._retired and len(self._retired) == len(self.requests):
            for one in list(self._retired):
                self._free(one)

    def written(self, request: GenerationRequest) -> int:
        """How many new tokens a request has by now; 0 for one that is not live."""
        return int(self.rows.written[request.live[0]]) if request.live else 0

    def rest(self, request: GenerationRequest, resting: bool) -> None:
        """Lets a request's rows rest, or go on."""
        for row in request.live:
            self.rows.resting[row] = resting

    def clear(self) -> list[GenerationRequest]:
        """Lets everybody go, after a run of which nothing is known."""
        left = [request for request in self.requests if request not in self._retired]
        self._retired.clear()
        for request in self.requests:
            request.live = []
        self.requests.clear()
        self.slots.clear()
        self.rows.clear()
        for row in reversed(range(len(self._sampler))):
            self._sampler.leave(row)
        self.finished.clear()
        self.failed.clear()
        return left

    # --- in a run: joining and reading --------------------------------------------------------------------------------

    def join(self, request: GenerationRequest, start: Start) -> None:
        """Gives a request its rows, whose states begin as `start` says."""
        reads = len(request.feed) > 1
        by_chunks = reads and self.spec.max_new > 1
        rows = self.slots.join(
            start, 0, request.rows, content=request.lengths, lengths=dict.fromkeys(self.growing, request.positions)
        )
        for _ in rows:
            self.rows.join(
                request,
                token=request.feed[0],
                limit=request.decoding.max_tokens,
                forced=reads and not by_chunks,
                resting=by_chunks,
                beams=request.decoding.num_beams > 1,
            )
            self._sampler.join(request.decoding, request.context)
        request.live = list(rows)
        if request.decoding.num_beams > 1:
            request.beams = Beams(request.decoding, self.spec.end, request.decoding.max_tokens)
        self.requests[request] = None
        self._grown = True

    def read(self, request: GenerationRequest, most: int) -> Ran:
        """Feeds the next part of a prompt, at most so many tokens; after the last part its first token is chosen."""
        row = request.live[0]
        begin = self._clock.now()
        held = int(self.rows.lengths[row])
        chunk = request.feed[request.fed : request.fed + min(most, self.spec.max_new)]
        last = request.fed + len(chunk) == len(request.feed)
        maps = request.maps if last else ()
        try:
            self._make_room(held + len(chunk))
            stepped = self._steps.alone(row, chunk, held, maps)
        except Exception as error:
            self.give_up(request, error)
            return Ran(1, len(chunk), held, self._clock.now() - begin, bool(maps), failed=True)
        request.fed += len(chunk)
        self.rows.lengths[row] = request.fed
        if last:
            self._spread(request)
            rows = np.array(request.live)
            logits = np.repeat(stepped.logits, len(rows), axis=0)
            self._choose(
                rows, logits, {name: np.repeat(held, len(rows), axis=0) for name, held in stepped.maps.items()}
            )
        return self._ran(Ran(1, len(chunk), held, self._clock.now() - begin, bool(maps)))

    def _spread(self, request: GenerationRequest) -> None:
        """What one row has read, all rows of a request have read; they go on."""
        first, *others = request.live
        if others:
            self.slots.reorder(others, [first] * len(others), int(self.rows.lengths[first]))
            self.rows.reorder(others, [first] * len(others))
        self.rest(request, False)

    # --- in a run: a step ---------------------------------------------------------------------------------------------

    def step(self, maps: Sequence[str]) -> Ran:
        """Feeds every row that does not rest its next token, and chooses the one after it."""
        rows = self.rows
        active = rows.active()
        held = int(rows.lengths[: rows.count].sum())
        begin = self._clock.now()
        failed = False
        if self._grown:
            self._grown = False
            for request in self.requests:
                request.most_rows = max(request.most_rows, rows.count)
        try:
            self._make_room(rows.longest() + 1)
            stepped = self._steps.step(rows, maps)
        except Exception as error:
            log.error("a decoding step failed; now row by row", exc_info=error)
            stepped = self._step_alone(active)
            active = np.array([row for row in active if not self._is_failed(rows.owners[row])], np.intp)
            failed = True
        rows.lengths[active] += 1
        given = active[rows.forced[active]]
        for request in dict.fromkeys(rows.owners[row] for row in given.tolist()):
            self._feed_next(request)
        choosing = active if not len(given) else np.setdiff1d(active, given)
        if len(choosing):
            everything = len(choosing) == rows.count
            logits = stepped.logits if everything else stepped.logits[choosing]
            own = {name: weights if everything else weights[choosing] for name, weights in stepped.maps.items()}
            self._choose(choosing, logits, own)
        self.stepped += 1
        return self._ran(Ran(rows.count, len(active), held, self._clock.now() - begin, bool(maps), failed))

    def _step_alone(self, active: NDArray[np.intp]) -> Stepped:
        """Each row by itself, after a step over all has failed; who fails again has to leave."""
        rows = self.rows
        logits = np.zeros((rows.count, self.spec.vocab_size), np.float32)
        gathered: dict[str, list[tuple[NDArray[np.intp], Array]]] = {}
        for row in active.tolist():
            request = rows.owners[row]
            if self._is_failed(request):
                continue
            held = int(rows.lengths[row])
            try:
                self._make_room(held + 1)  # where there is none, a run would write past the row's end
                alone = self._steps.alone(row, rows.tokens[row].tolist(), held, request.maps)
            except Exception as error:
                self.give_up(request, error)
                continue
            logits[row] = alone.logits[0]
            for name, weights in alone.maps.items():
                gathered.setdefault(name, []).append((np.array([row]), weights))
        return Stepped(logits, {name: side_by_side(rows.count, parts) for name, parts in gathered.items()})

    def _feed_next(self, request: GenerationRequest) -> None:
        """The next given token, to all rows of a request that follows a prompt or a prefix one by one."""
        request.fed += 1
        self.rows.tokens[request.live] = request.feed[request.fed]
        self.rows.forced[request.live] = request.fed < len(request.feed) - 1

    # --- what is written next -----------------------------------------------------------------------------------------

    def _choose(self, choosing: NDArray[np.intp], logits: NDArray[np.float32], maps: dict[str, Array]) -> None:
        """Chooses the next token of rows; `logits` and `maps` are theirs alone, in their order."""
        rows = self.rows
        beams = rows.beams[choosing]
        if beams.any():
            for request in dict.fromkeys(rows.owners[row] for row in choosing[beams].tolist()):
                own = np.array([int(np.flatnonzero(choosing == row)[0]) for row in request.live])
                self._follow_beams(request, logits[own], {name: weights[own] for name, weights in maps.items()})
            plain = np.flatnonzero(~beams)
            if not len(plain):
                return
            choosing, logits = choosing[plain], logits[plain]
            maps = {name: weights[plain] for name, weights in maps.items()}
        chosen = self._sampler.choose(logits, None if len(choosing) == rows.count else choosing)
        rows.tokens[choosing, 0] = chosen.tokens
        rows.written[choosing] += 1
        rows.scores[choosing] += chosen.logprobs
        ended = self._ends[chosen.tokens]
        full = rows.written[choosing] >= rows.limits[choosing]
        now = self._clock.now()
        tokens = chosen.tokens.tolist()
        for number, row in enumerate(choosing.tolist()):
            request = rows.owners[row]
            request.last_at = now
            if request.first_at is None:
                request.first_at = now
            if ended[number] or tokens[number] < 0:
                continue
            request.ids.append(tokens[number])
            if request.decoding.logprobs:
                request.logprobs.append(float(chosen.logprobs[number]))
                if request.decoding.top_logprobs:
                    request.top.append(chosen.top.get(row, ()))
            if request.maps:
                request.weights.append(self._weights(request, maps, [number]))
        for number in np.flatnonzero(ended | full).tolist():
            request = rows.owners[choosing[number]]
            request.finish = FinishReason.END if ended[number] else FinishReason.LENGTH
            self.finished.append(request)
        for number in chosen.failed:
            self.give_up(rows.owners[choosing[number]], InferenceFailed("the model gave no usable scores"))

    def _follow_beams(self, request: GenerationRequest, logits: NDArray[np.float32], maps: dict[str, Array]) -> None:
        rows, live = self.rows, request.live
        assert request.beams is not None  # noqa: S101 - made where it joined
        now = self._clock.now()
        request.last_at = now
        if request.first_at is None:
            request.first_at = now
        if request.maps:
            request.weights.append(self._weights(request, maps, range(len(live))))
        own = log_softmax(logits)
        try:
            step = request.beams.advance(self._sampler.adjusted(own, np.array(live)), own)
        except InferenceFailed as error:
            self.give_up(request, error)
            return
        rows.written[live] += 1
        if request.beams.done or rows.written[live[0]] >= rows.limits[live[0]]:
            request.finish = FinishReason.END
            self.finished.append(request)
            return
        parents = [live[parent] for parent in step.parents]
        self.slots.reorder(live, parents, int(rows.lengths[live[0]]))
        self._sampler.reorder(np.array(live), np.array(parents))
        for row, token in zip(live, step.tokens.tolist(), strict=True):
            rows.tokens[row] = token
            self._sampler.record(row, token)

    def _weights(
        self, request: GenerationRequest, maps: dict[str, Array], numbers: Sequence[int]
    ) -> dict[str, Weights]:
        """A request's weights of this step, [rows, heads, keys]: of the last new token, over its own keys."""
        held = int(self.rows.lengths[request.live[0]])
        found: dict[str, Weights] = {}
        for name in request.maps:
            keys = held if name in self._written_keys else max(request.lengths.values(), default=held)
            found[name] = maps[name][list(numbers), :, -1, :keys].astype(np.float32)
        return found

    # --- odds and ends ------------------------------------------------------------------------------------------------

    def _make_room(self, positions: int) -> None:
        if self.growing:
            self.slots.reserve(0, dict.fromkeys(self.growing, positions))

    def give_up(self, request: GenerationRequest, error: Exception) -> None:
        """Notes that a request has failed; it leaves between runs."""
        known = error if isinstance(error, ServeError) else InferenceFailed(_FAILED)
        if not isinstance(error, ServeError):
            log.error("a generation failed", exc_info=error, extra={"request": request.request_id})
        self.failed.append((request, known))

    def _is_failed(self, request: GenerationRequest) -> bool:
        return any(one is request for one, _ in self.failed)

    def _ran(self, ran: Ran) -> Ran:
        self.seconds += ran.seconds
        return ran

    def _keys_are_written(self, output: OutputSpec) -> bool:
        axis = output.axes[-1]
        return output.role == "attention" and axis.kind == "length" and axis.name in self.growing

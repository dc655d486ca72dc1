"""From tokens to what callers are told: text as it becomes certain, increments, and the whole at the end."""

from collections.abc import Callable

from server.generation.beams import Hypothesis
from server.generation.request import GenerationRequest
from server.generation.result import FinishReason, Generated, GenerationTiming, Increment, Sequence
from server.generation.text import Detokenizer


class Delivery:
    """Tells callers; on the event loop's thread."""

    def __init__(self, detokenizer: Detokenizer) -> None:
        self._detokenizer = detokenizer

    def prepare(self, request: GenerationRequest) -> None:
        """For a request whose text must be known while it is written."""
        if request.decoding.num_beams == 1 and (request.reader is not None or request.decoding.stop):
            request.text = self._detokenizer.stream(request.decoding.stop, request.context)

    def watch(self, request: GenerationRequest) -> None:
        """Looks for stop strings in what was written last, before the next step; `finish` says that one came."""
        if request.decoding.stop:
            self._hear(request)

    def increment(self, request: GenerationRequest) -> Callable[[], None]:
        """What the reader gets of the tokens that are new; to be called while the next run computes already."""
        reader, new = request.reader, tuple(request.ids[request.told :])
        if reader is None or request.text is None or not (new or request.finish):
            return _nothing
        since, until = request.told, len(request.ids)
        request.told = until
        finish, at_s = request.finish, max(0.0, request.last_at - request.enqueued_at)

        def tell() -> None:
            text = self._certain(request, new, finish)
            reader.put(
                Increment(
                    ids=new,
                    text=text,
                    logprobs=tuple(request.logprobs[since:until]),
                    top=tuple(request.top[since:until]),
                    attention=request.traced(since=since, until=until) if request.maps else None,
                    finish=finish,
                    at_s=at_s,
                )
            )

        return tell

    def result(self, request: GenerationRequest) -> None:
        """Answers a request that is finished; its increments have been told before."""
        if request.dead:
            return
        if request.beams is None:
            sequences: tuple[Sequence, ...] = (self._written(request),)
        else:
            sequences = tuple(self._followed(request, one) for one in request.beams.finished())
            best = sequences[0]
            request.ids, request.finish = list(best.ids), best.finish
            if request.reader is not None:
                request.reader.put(
                    Increment(
                        ids=best.ids,
                        text=best.text,
                        logprobs=best.logprobs,
                        top=best.top,
                        attention=best.attention,
                        finish=best.finish,
                        at_s=max(0.0, request.last_at - request.enqueued_at),
                    )
                )
        first_at = request.joined_at if request.first_at is None else request.first_at
        timing = GenerationTiming(
            queue_s=max(0.0, request.joined_at - request.enqueued_at),
            first_token_s=max(0.0, first_at - request.enqueued_at),
            compute_s=request.compute_s,
            steps=request.steps,
            batch_rows=request.most_rows,
        )
        request.reply.set_result(Generated(sequences=sequences, prompt_tokens=request.prompt_tokens, timing=timing))

    def _certain(self, request: GenerationRequest, new: tuple[int, ...], finish: FinishReason | None) -> str:
        """What has become certain of the text since the last increment."""
        assert request.text is not None  # noqa: S101 - `increment` has looked
        if not request.decoding.stop:
            for token in new:
                request.pieces += request.text.push(token)
        if finish is not None:
            request.pieces += request.text.finish()
        pieces, request.pieces = request.pieces, ""
        return pieces

    def _hear(self, request: GenerationRequest) -> None:
        ids, text = request.ids, request.text
        assert text is not None  # noqa: S101 - `prepare` has made it
        while request.heard < len(ids) and not text.stopped:
            token = ids[request.heard]
            request.heard += 1
            request.pieces += text.push(token, may_stop=request.heard >= request.decoding.min_tokens)
        if request.finish is not None:
            request.pieces += text.finish()  # a stop string may be complete only now that nothing follows
        if text.stopped:
            del ids[request.heard :]
            request.finish = FinishReason.STOP

    def _written(self, request: GenerationRequest) -> Sequence:
        assert request.finish is not None  # noqa: S101 - it is finished
        return Sequence(
            ids=tuple(request.ids),
            text=self._text(request, request.ids) if request.text is None else request.text.text,
            finish=request.finish,
            score=request.score,
            logprobs=tuple(request.logprobs),
            top=tuple(request.top),
            attention=request.traced() if request.maps else None,
        )

    def _text(self, request: GenerationRequest, ids: "tuple[int, ...] | list[int]") -> str:
        """The text of what is new, with the spaces and joins that it has behind what was there."""
        return self._detokenizer.text(ids, request.context)

    def _followed(self, request: GenerationRequest, hypothesis: Hypothesis) -> Sequence:
        asked = request.decoding
        return Sequence(
            ids=hypothesis.ids,
            text=self._text(request, hypothesis.ids),
            finish=FinishReason.END if hypothesis.ended else FinishReason.LENGTH,
            score=hypothesis.score,
            logprobs=hypothesis.logprobs if asked.logprobs else (),
            top=hypothesis.top if asked.top_logprobs else (),
            attention=request.traced(rows=hypothesis.rows) if request.maps else None,
        )


def _nothing() -> None:
    pass

"""What was written, as messages: tokens, texts, how they ended, how long they took."""

from collections.abc import Mapping, Sequence

from attendant.v1 import attention_pb2, common_pb2
from attendant.v1 import generate_pb2 as wire

from server.generation.result import FinishReason, Generated, GenerationTiming, Increment, TopToken
from server.generation.result import Sequence as WrittenSequence
from server.rpc.generation import Writer

FINISHES: Mapping[FinishReason, "wire.FinishReason"] = {
    FinishReason.END: wire.FINISH_REASON_END,
    FinishReason.STOP: wire.FINISH_REASON_STOP,
    FinishReason.LENGTH: wire.FINISH_REASON_LENGTH,
}


def token_messages(
    ids: Sequence[int],
    texts: Sequence[str],
    logprobs: Sequence[float],
    top: Sequence[Sequence[TopToken]],
    model: Writer,
) -> list[wire.GeneratedToken]:
    """Tokens with what was asked for of them: `logprobs` and `top` have an entry for each token, or none at all."""
    return [
        wire.GeneratedToken(
            id=token,
            text=texts[index],
            logprob=logprobs[index] if logprobs else 0.0,
            top=[_probability(each, model) for each in top[index]] if top else (),
        )
        for index, token in enumerate(ids)
    ]


def sequence_message(
    sequence: WrittenSequence,
    texts: Sequence[str],
    attention: Sequence[attention_pb2.AttentionMap],
    model: Writer,
) -> wire.GeneratedSequence:
    """One whole text."""
    return wire.GeneratedSequence(
        text=sequence.text,
        tokens=token_messages(sequence.ids, texts, sequence.logprobs, sequence.top, model),
        score=sequence.score,
        finish_reason=FINISHES[sequence.finish],
        attention=attention,
    )


def increment_message(
    increment: Increment,
    texts: Sequence[str],
    attention: Sequence[attention_pb2.AttentionMap],
    model: Writer,
) -> wire.GenerateStreamResponse:
    """What a text has grown by."""
    return wire.GenerateStreamResponse(
        text=increment.text,
        tokens=token_messages(increment.ids, texts, increment.logprobs, increment.top, model),
        attention=attention,
        at_s=increment.at_s,
    )


def generation_timing(timing: GenerationTiming) -> wire.GenerationTiming:
    """How one text fared."""
    return wire.GenerationTiming(
        queue_s=timing.queue_s,
        first_token_s=timing.first_token_s,
        compute_s=timing.compute_s,
        steps=timing.steps,
        batch_rows=timing.batch_rows,
    )


def call_timing(answers: Sequence[Generated], request_s: float) -> common_pb2.Timing:
    """How the whole call fared: the longest of its texts' times."""
    return common_pb2.Timing(
        queue_s=max(answer.timing.queue_s for answer in answers),
        compute_s=max(answer.timing.compute_s for answer in answers),
        request_s=request_s,
        batch_rows=max(answer.timing.batch_rows for answer in answers),
    )


def _probability(token: TopToken, model: Writer) -> wire.TokenProbability:
    return wire.TokenProbability(id=token.id, text=model.token_text(token.id), logprob=token.logprob)

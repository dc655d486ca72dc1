"""GenerateStream: builds the request and reads the text increment by increment, without a network."""

from dataclasses import dataclass, replace
from typing import Unpack

from attendant.attention import (
    Attention,
    AttentionMap,
    Axis,
    Token,
    Tokens,
    attention_request,
    parse_attention,
    parse_axis,
)
from attendant.common import (
    ModelVersion,
    Truncation,
    TruncationReport,
    model_ref,
    parse_model,
    parse_truncation,
    truncation_value,
)
from attendant.generate import (
    Decoding,
    FinishReason,
    GeneratedToken,
    GenerationTiming,
    decoding_message,
    generate_input,
    parse_finish,
    parse_generation_timing,
    parse_tokens,
)
from attendant.transport import Call, Method, new_request_id
from attendant.v1 import attention_pb2, generate_pb2

GENERATE_STREAM = Method("/attendant.v1.AttendantService/GenerateStream", generate_pb2.GenerateStreamResponse)


@dataclass(frozen=True, slots=True)
class GenerationStart:
    """What is known before the first token: who answers, and what was read."""

    model: ModelVersion
    request_id: str
    prompt_tokens: int
    seed: int
    truncation: TruncationReport | None


@dataclass(frozen=True, slots=True)
class GenerationEnd:
    """What is known with the last token; `attention` only where whole maps were asked for."""

    finish_reason: FinishReason
    score: float
    timing: GenerationTiming
    attention: tuple[AttentionMap, ...]


@dataclass(frozen=True, slots=True)
class Increment:
    """What a text has grown by; the texts of all increments, joined, are the whole text."""

    text: str
    tokens: tuple[GeneratedToken, ...]
    attention: tuple[AttentionMap, ...]
    """Of these tokens."""
    at_s: float
    """Seconds from the call's admission until the last of these tokens was there."""
    start: GenerationStart | None = None
    """In the first increment, which has no text."""
    end: GenerationEnd | None = None
    """In the last increment."""


def generate_stream_call(
    model: str,
    content: str | bytes,
    *,
    prefix: str = "",
    version: int | None = None,
    alias: str | None = None,
    truncation: Truncation = "refuse",
    attention: bool | Attention | None = None,
    whole_attention: bool = False,
    request_id: str | None = None,
    **decoding: Unpack[Decoding],
) -> Call[generate_pb2.GenerateStreamResponse, Increment]:
    """The call for one text or encoded image, answered increment by increment. Raises as `generate_call`."""
    request = generate_pb2.GenerateStreamRequest(
        model=model_ref(model, version, alias),
        input=generate_input(content, prefix),
        decoding=decoding_message(decoding),
        truncation=truncation_value(truncation),
        attention=attention_request(attention),
        whole_attention=whole_attention,
        request_id=request_id or new_request_id(),
    )
    return Call(GENERATE_STREAM, request, IncrementReader().read, request.request_id)


class IncrementReader:
    """Reads the messages of one stream, in their order; names the keys of the maps, which come only once."""

    def __init__(self) -> None:
        self._keys: dict[str, generate_pb2.AttentionKeys] = {}
        self._written: list[Token] = []

    def read(self, message: generate_pb2.GenerateStreamResponse) -> Increment:
        """One increment. Raises ServerError if an attention map in it contradicts itself."""
        if message.HasField("start"):
            self._keys = {each.name: each for each in message.start.attention}
        tokens = parse_tokens(message.tokens)
        self._written += [Token(token.text, 0, 0) for token in tokens]
        return Increment(
            text=message.text,
            tokens=tokens,
            attention=tuple(self._named(each) for each in message.attention),
            at_s=message.at_s,
            start=_start(message.start) if message.HasField("start") else None,
            end=_end(message.end) if message.HasField("end") else None,
        )

    def _named(self, message: attention_pb2.AttentionMap) -> AttentionMap:
        parsed = parse_attention(message)
        known = self._keys.get(parsed.name)
        return parsed if known is None else replace(parsed, key=self._key(known, parsed))

    def _key(self, known: generate_pb2.AttentionKeys, parsed: AttentionMap) -> Axis:
        """The keys' labels, as many as there are keys; None where they are not all known."""
        labels = parse_axis(known.labels)
        if known.growing:
            first = labels.tokens if isinstance(labels, Tokens) else ()
            labels = Tokens((*first, *self._written))
        if labels is None:
            return None
        if parsed.key_indices is not None:
            return labels if parsed.key_indices.max(initial=0) < len(labels) else None
        keys = parsed.weights.shape[-1]
        if isinstance(labels, Tokens) and known.growing and keys < len(labels):
            return Tokens(labels.tokens[:keys])
        return labels if len(labels) == keys else None


def _start(message: generate_pb2.GenerationStart) -> GenerationStart:
    return GenerationStart(
        model=parse_model(message.model),
        request_id=message.request_id,
        prompt_tokens=message.prompt_tokens,
        seed=message.seed,
        truncation=parse_truncation(message.truncation) if message.HasField("truncation") else None,
    )


def _end(message: generate_pb2.GenerationEnd) -> GenerationEnd:
    return GenerationEnd(
        finish_reason=parse_finish(message.finish_reason),
        score=message.score,
        timing=parse_generation_timing(message.timing),
        attention=tuple(parse_attention(each) for each in message.attention),
    )

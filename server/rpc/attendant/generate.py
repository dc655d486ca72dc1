"""Generate and GenerateStream: texts or images in, texts out, written token by token."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass

from attendant.v1 import generate_pb2 as wire

from server.clock import Clock
from server.codecs.codec import Truncation
from server.errors import EmptyInput, ParameterInvalid, RowLimitExceeded, ServeError, TaskNotSupported
from server.generation.result import Generated, Increment
from server.registry import Registry
from server.rpc.attendant.alignment import AlignmentChoice, AlignmentLabels
from server.rpc.attendant.attention import AttentionObserver
from server.rpc.attendant.decoding import read_decoding
from server.rpc.attendant.shared import answered_by, find_model, read_truncation, truncation_report
from server.rpc.attendant.written import (
    FINISHES,
    call_timing,
    generation_timing,
    increment_message,
    sequence_message,
)
from server.rpc.call import Call
from server.rpc.generation import Prompt, Wish, Writer, begun, prefix_tokens, results, writer
from server.rpc.rows import for_each, naming_input
from server.servable import Servable
from server.settings import GenerationSettings, SecuritySettings


@dataclass(frozen=True, slots=True)
class Choices:
    """What a call wants of all its inputs, found valid."""

    model: Writer
    wish: Wish
    truncation: Truncation
    attention: AlignmentChoice | None

    @property
    def outputs(self) -> tuple[str, ...]:
        """The attention outputs to collect."""
        return self.attention.outputs if self.attention else ()


class Generator:
    """Answers Generate and GenerateStream over the registry's models."""

    def __init__(
        self,
        registry: Registry,
        security: SecuritySettings,
        generation: GenerationSettings,
        clock: Clock,
        observer: AttentionObserver,
    ) -> None:
        self._registry = registry
        self._security = security
        self._generation = generation
        self._clock = clock
        self._observer = observer

    async def generate(self, request: wire.GenerateRequest, call: Call) -> wire.GenerateResponse:
        """Validates everything, encodes every input, and only then begins: each input is a text of its own.

        Raises ModelNotFound, VersionNotFound, ModelNotReady, TaskNotSupported, EmptyInput, RowLimitExceeded,
        ParameterInvalid; what the codec raises, and UndecodableInput for a prefix, naming the input; AttentionTooLarge;
        what `Writer.begin` and `Generation.result` raise.
        """
        servable = find_model(self._registry, request.model)
        call.served_by(servable.name, servable.version)
        with servable.held():
            choices = _choices(servable, request)
            prompts = await self._prompts(servable, choices, request.inputs)
            self._check_attention(servable, choices, prompts)
            with begun(choices.model, prompts, call, attention=choices.outputs) as generations:
                answers = await results(generations)
            return wire.GenerateResponse(
                model=answered_by(servable, request.model),
                results=[_result(choices, prompt, each) for prompt, each in zip(prompts, answers, strict=True)],
                timing=call_timing(answers, self._clock.now() - call.started_at),
                request_id=call.request_id,
            )

    async def generate_stream(
        self, request: wire.GenerateStreamRequest, call: Call
    ) -> AsyncGenerator[wire.GenerateStreamResponse, None]:
        """One text, as it comes into being. Raises as `generate`; closing it lets go of the text."""
        servable = find_model(self._registry, request.model)
        call.served_by(servable.name, servable.version)
        with servable.held():
            choices = _choices(servable, request)
            _check_streamed(request, choices)
            inputs = [request.input] if request.HasField("input") else []
            prompts = await self._prompts(servable, choices, inputs)
            self._check_attention(servable, choices, prompts, times=2 if request.whole_attention else 1)
            (prompt,) = prompts
            labels = choices.attention.labels(choices.model, prompt) if choices.attention else None
            with begun(choices.model, prompts, call, attention=choices.outputs, streamed=True) as (generation,):
                yield wire.GenerateStreamResponse(start=_start(servable, request, call, prompt, labels))
                async for increment in generation:
                    message = _increment(choices, increment)
                    if increment.finish is not None:
                        whole = await generation.result()
                        message.end.CopyFrom(_end(choices, labels if request.whole_attention else None, whole))
                    yield message

    async def _prompts(
        self, servable: Servable, choices: Choices, inputs: Sequence[wire.GenerateInput]
    ) -> list[Prompt]:
        if not inputs:
            raise EmptyInput("the request has no inputs")
        limit = self._security.max_inputs
        if len(inputs) > limit:
            raise RowLimitExceeded(
                f"{len(inputs)} inputs in one call; the limit is {limit}: split the call",
                {"rows": str(len(inputs)), "max_rows": str(limit)},
            )

        async def encode(index: int, item: wire.GenerateInput) -> Prompt:
            try:
                return await self._prompt(servable, choices, item)
            except ServeError as error:
                raise naming_input(error, index) from error

        return await for_each(inputs, encode)

    async def _prompt(self, servable: Servable, choices: Choices, item: wire.GenerateInput) -> Prompt:
        kind = item.WhichOneof("content")
        if kind is None:
            raise EmptyInput("no content")
        row = await servable.encode(item.text if kind == "text" else item.image, choices.truncation)
        prefix = await prefix_tokens(choices.model, item.prefix, self._security.max_text_bytes)
        return choices.wish.prompt(servable.manifest, row, prefix, self._generation.max_tokens)

    def _check_attention(self, servable: Servable, choices: Choices, prompts: Sequence[Prompt], times: int = 1) -> None:
        if choices.attention:
            choices.attention.check_size(prompts, self._security.max_attention_bytes, times)
            self._observer.attention_requested(servable.name, servable.version)


def _choices(servable: Servable, request: wire.GenerateRequest | wire.GenerateStreamRequest) -> Choices:
    manifest = servable.manifest
    model = writer(servable)
    if model is None or manifest.generation is None or servable.codec is None:
        raise TaskNotSupported(
            f"model {servable.name!r} is for {manifest.task}; Generate takes a model that writes, with a codec"
        )
    wish = read_decoding(request.decoding)
    wish.check(manifest.generation)
    attention = AlignmentChoice.read(manifest, request.attention) if request.HasField("attention") else None
    return Choices(model, wish, read_truncation(request.truncation), attention)


def _check_streamed(request: wire.GenerateStreamRequest, choices: Choices) -> None:
    if choices.wish.decoding.num_sequences > 1:
        raise ParameterInvalid(
            "a stream gives one text: ask Generate for several sequences", {"parameter": "num_sequences"}
        )
    if request.whole_attention and choices.attention is None:
        raise ParameterInvalid("whole_attention needs attention", {"parameter": "whole_attention"})


def _result(choices: Choices, prompt: Prompt, answer: Generated) -> wire.Generation:
    labels = choices.attention.labels(choices.model, prompt) if choices.attention else None
    sequences = []
    for sequence in answer.sequences:
        texts = _texts(choices, sequence.ids)
        maps = choices.attention.maps(sequence.attention, texts, labels) if choices.attention else ()
        sequences.append(sequence_message(sequence, texts, maps, choices.model))
    return wire.Generation(
        sequences=sequences,
        prompt_tokens=prompt.tokens,
        seed=prompt.decoding.seed,
        truncation=truncation_report(prompt.row) if prompt.row.kept_tokens else None,
        timing=generation_timing(answer.timing),
    )


def _start(
    servable: Servable,
    request: wire.GenerateStreamRequest,
    call: Call,
    prompt: Prompt,
    labels: AlignmentLabels | None,
) -> wire.GenerationStart:
    return wire.GenerationStart(
        model=answered_by(servable, request.model),
        request_id=call.request_id,
        prompt_tokens=prompt.tokens,
        seed=prompt.decoding.seed,
        truncation=truncation_report(prompt.row) if prompt.row.kept_tokens else None,
        attention=labels.announced() if labels else (),
    )


def _increment(choices: Choices, increment: Increment) -> wire.GenerateStreamResponse:
    texts = _texts(choices, increment.ids)
    maps = choices.attention.maps(increment.attention, texts) if choices.attention else ()
    return increment_message(increment, texts, maps, choices.model)


def _end(choices: Choices, labels: AlignmentLabels | None, answer: Generated) -> wire.GenerationEnd:
    """`labels` None: without the whole maps."""
    best = answer.sequences[0]
    whole = choices.attention if labels else None
    return wire.GenerationEnd(
        finish_reason=FINISHES[best.finish],
        score=best.score,
        timing=generation_timing(answer.timing),
        attention=whole.maps(best.attention, _texts(choices, best.ids), labels) if whole else (),
    )


def _texts(choices: Choices, ids: Sequence[int]) -> list[str]:
    return [choices.model.token_text(token) for token in ids]

"""Classify: texts or images in, labels out, with the attention behind them where asked."""

import math
from dataclasses import dataclass

from attendant.v1 import classify_pb2 as wire

from server.batching.request import Answer
from server.clock import Clock
from server.codecs.codec import EncodedRow, Truncation
from server.errors import EmptyInput, ParameterInvalid, RowLimitExceeded, ServeError, TaskNotSupported
from server.manifest import OutputSpec
from server.registry import Registry
from server.rpc.attendant.attention import AttentionChoice, AttentionObserver
from server.rpc.attendant.scores import best_labels, probabilities, score_output
from server.rpc.attendant.shared import (
    answered_by,
    call_timing,
    find_model,
    read_truncation,
    row_timing,
    truncation_report,
)
from server.rpc.call import Call
from server.rpc.rows import for_each, infer_row, naming_input
from server.servable import Servable
from server.settings import SecuritySettings

TASKS = ("text-classification", "image-classification")


@dataclass(frozen=True, slots=True)
class Choices:
    """What a call wants, found valid."""

    scores: OutputSpec
    top_k: int
    threshold: float
    truncation: Truncation
    attention: AttentionChoice | None

    @property
    def outputs(self) -> tuple[str, ...]:
        """The graph outputs to fetch."""
        return (self.scores.name, *(self.attention.outputs if self.attention else ()))


class Classifier:
    """Answers Classify over the registry's models."""

    def __init__(
        self, registry: Registry, security: SecuritySettings, clock: Clock, observer: AttentionObserver
    ) -> None:
        self._registry = registry
        self._security = security
        self._clock = clock
        self._observer = observer

    async def classify(self, request: wire.ClassifyRequest, call: Call) -> wire.ClassifyResponse:
        """Validates everything, encodes every input, and only then infers: each input as a row of its own.

        Raises ModelNotFound, VersionNotFound, ModelNotReady, TaskNotSupported, EmptyInput, RowLimitExceeded,
        ParameterInvalid; what the codec raises, naming the input; AttentionTooLarge; what `Servable.infer` raises.
        """
        servable = find_model(self._registry, request.model)
        call.served_by(servable.name, servable.version)
        with servable.held():
            return await self._answer(servable, request, call)

    async def _answer(self, servable: Servable, request: wire.ClassifyRequest, call: Call) -> wire.ClassifyResponse:
        choices = self._validate(servable, request)
        rows = await self._encode(servable, request, choices.truncation)
        if choices.attention:
            choices.attention.check_size(rows, self._security.max_attention_bytes)
            self._observer.attention_requested(servable.name, servable.version)
        answers = await for_each(rows, lambda _, row: infer_row(servable, row, choices.outputs, call))
        return wire.ClassifyResponse(
            model=answered_by(servable, request.model),
            results=[_result(servable, choices, row, answer) for row, answer in zip(rows, answers, strict=True)],
            timing=call_timing([answer.timing for answer in answers], self._clock.now() - call.started_at),
            request_id=call.request_id,
        )

    def _validate(self, servable: Servable, request: wire.ClassifyRequest) -> Choices:
        task = servable.manifest.task
        scores = score_output(servable.manifest)
        if task not in TASKS or servable.codec is None or scores is None or servable.manifest.generation is not None:
            raise TaskNotSupported(f"model {servable.name!r} is for {task}; Classify takes a classifier with a codec")
        if not request.inputs:
            raise EmptyInput("the request has no inputs")
        limit = self._security.max_inputs
        if len(request.inputs) > limit:
            raise RowLimitExceeded(
                f"{len(request.inputs)} inputs in one call; the limit is {limit}: split the call",
                {"rows": str(len(request.inputs)), "max_rows": str(limit)},
            )
        threshold = request.score_threshold
        if math.isnan(threshold) or not 0 <= threshold <= 1:
            raise ParameterInvalid(f"score_threshold is {threshold}; expected 0 to 1", {"parameter": "score_threshold"})
        attention = AttentionChoice(servable, request.attention) if request.HasField("attention") else None
        return Choices(scores, request.top_k, threshold, read_truncation(request.truncation), attention)

    async def _encode(
        self, servable: Servable, request: wire.ClassifyRequest, truncation: Truncation
    ) -> list[EncodedRow]:
        async def encode(index: int, item: wire.ClassifyInput) -> EncodedRow:
            try:
                return await servable.encode(_content(item), truncation)
            except ServeError as error:
                raise naming_input(error, index) from error

        return await for_each(request.inputs, encode)


def _content(item: wire.ClassifyInput) -> str | bytes:
    kind = item.WhichOneof("content")
    if kind is None:
        raise EmptyInput("no content")
    return item.text if kind == "text" else item.image


def _result(servable: Servable, choices: Choices, row: EncodedRow, answer: Answer) -> wire.Classification:
    scores = probabilities(choices.scores, answer.outputs[choices.scores.name])
    return wire.Classification(
        labels=best_labels(scores, servable.labels, top_k=choices.top_k, threshold=choices.threshold),
        truncation=truncation_report(row) if row.kept_tokens else None,
        attention=choices.attention.maps(answer.outputs, row) if choices.attention else (),
        timing=row_timing(answer.timing),
    )

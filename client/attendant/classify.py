"""Classify: builds the request and reads the reply, without a network."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from attendant.attention import Attention, AttentionMap, attention_request, parse_attention
from attendant.common import (
    ModelVersion,
    Timing,
    Truncation,
    TruncationReport,
    model_ref,
    parse_model,
    parse_timing,
    parse_truncation,
    truncation_value,
)
from attendant.transport import Call, Method, new_request_id
from attendant.v1 import classify_pb2

CLASSIFY = Method("/attendant.v1.AttendantService/Classify", classify_pb2.ClassifyResponse)


@dataclass(frozen=True, slots=True)
class Label:
    """A label, its number in the model's list, and its probability."""

    name: str
    index: int
    score: float


@dataclass(frozen=True, slots=True)
class Classification:
    """The labels of one input in falling order of score, those below the threshold left out."""

    labels: tuple[Label, ...]
    attention: tuple[AttentionMap, ...]
    """One map for each attention of the model that was asked for."""
    truncation: TruncationReport | None
    """How much of a text was read; None for an image."""
    timing: Timing

    @property
    def best(self) -> Label | None:
        """The label with the highest score; None where none reached the threshold."""
        return self.labels[0] if self.labels else None


@dataclass(frozen=True, slots=True)
class ClassifyResult:
    """One classification for each input, in their order; iterates and indexes over them."""

    results: tuple[Classification, ...]
    model: ModelVersion
    timing: Timing
    request_id: str

    def __len__(self) -> int:
        return len(self.results)

    def __iter__(self) -> Iterator[Classification]:
        return iter(self.results)

    def __getitem__(self, index: int) -> Classification:
        return self.results[index]


def classify_call(
    model: str,
    contents: Sequence[str | bytes],
    *,
    version: int | None = None,
    alias: str | None = None,
    top_k: int = 0,
    score_threshold: float = 0.0,
    truncation: Truncation = "refuse",
    attention: bool | Attention | None = None,
    request_id: str | None = None,
) -> Call[classify_pb2.ClassifyResponse, ClassifyResult]:
    """The call for texts (str) and encoded images (bytes).

    Raises ValueError for arguments that the wire cannot carry; what the model cannot take, the server refuses.
    """
    request = classify_pb2.ClassifyRequest(
        model=model_ref(model, version, alias),
        inputs=[_input(content) for content in contents],
        top_k=top_k,
        score_threshold=score_threshold,
        truncation=truncation_value(truncation),
        attention=attention_request(attention),
        request_id=request_id or new_request_id(),
    )
    return Call(CLASSIFY, request, parse_classify, request.request_id)


def parse_classify(reply: classify_pb2.ClassifyResponse) -> ClassifyResult:
    """Reads a reply.

    Raises ServerError if an attention map in it contradicts itself.
    """
    return ClassifyResult(
        results=tuple(_classification(each) for each in reply.results),
        model=parse_model(reply.model),
        timing=parse_timing(reply.timing),
        request_id=reply.request_id,
    )


def _input(content: str | bytes) -> classify_pb2.ClassifyInput:
    if isinstance(content, str):
        return classify_pb2.ClassifyInput(text=content)
    return classify_pb2.ClassifyInput(image=content)


def _classification(message: classify_pb2.Classification) -> Classification:
    return Classification(
        labels=tuple(Label(label.name, label.index, label.score) for label in message.labels),
        attention=tuple(parse_attention(each) for each in message.attention),
        truncation=parse_truncation(message.truncation) if message.HasField("truncation") else None,
        timing=parse_timing(message.timing),
    )

from attendant.v1 import attention_pb2 as _attention_pb2
from attendant.v1 import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class FinishReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FINISH_REASON_UNSPECIFIED: _ClassVar[FinishReason]
    FINISH_REASON_END: _ClassVar[FinishReason]
    FINISH_REASON_STOP: _ClassVar[FinishReason]
    FINISH_REASON_LENGTH: _ClassVar[FinishReason]
FINISH_REASON_UNSPECIFIED: FinishReason
FINISH_REASON_END: FinishReason
FINISH_REASON_STOP: FinishReason
FINISH_REASON_LENGTH: FinishReason

class GenerateRequest(_message.Message):
    __slots__ = ("model", "inputs", "decoding", "truncation", "attention", "request_id")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    DECODING_FIELD_NUMBER: _ClassVar[int]
    TRUNCATION_FIELD_NUMBER: _ClassVar[int]
    ATTENTION_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    model: _common_pb2.ModelRef
    inputs: _containers.RepeatedCompositeFieldContainer[GenerateInput]
    decoding: Decoding
    truncation: _common_pb2.Truncation
    attention: _attention_pb2.AttentionRequest
    request_id: str
    def __init__(self, model: _Optional[_Union[_common_pb2.ModelRef, _Mapping]] = ..., inputs: _Optional[_Iterable[_Union[GenerateInput, _Mapping]]] = ..., decoding: _Optional[_Union[Decoding, _Mapping]] = ..., truncation: _Optional[_Union[_common_pb2.Truncation, str]] = ..., attention: _Optional[_Union[_attention_pb2.AttentionRequest, _Mapping]] = ..., request_id: _Optional[str] = ...) -> None: ...

class GenerateStreamRequest(_message.Message):
    __slots__ = ("model", "input", "decoding", "truncation", "attention", "request_id", "whole_attention")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    DECODING_FIELD_NUMBER: _ClassVar[int]
    TRUNCATION_FIELD_NUMBER: _ClassVar[int]
    ATTENTION_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    WHOLE_ATTENTION_FIELD_NUMBER: _ClassVar[int]
    model: _common_pb2.ModelRef
    input: GenerateInput
    decoding: Decoding
    truncation: _common_pb2.Truncation
    attention: _attention_pb2.AttentionRequest
    request_id: str
    whole_attention: bool
    def __init__(self, model: _Optional[_Union[_common_pb2.ModelRef, _Mapping]] = ..., input: _Optional[_Union[GenerateInput, _Mapping]] = ..., decoding: _Optional[_Union[Decoding, _Mapping]] = ..., truncation: _Optional[_Union[_common_pb2.Truncation, str]] = ..., attention: _Optional[_Union[_attention_pb2.AttentionRequest, _Mapping]] = ..., request_id: _Optional[str] = ..., whole_attention: _Optional[bool] = ...) -> None: ...

class GenerateInput(_message.Message):
    __slots__ = ("text", "image", "prefix")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    text: str
    image: bytes
    prefix: str
    def __init__(self, text: _Optional[str] = ..., image: _Optional[bytes] = ..., prefix: _Optional[str] = ...) -> None: ...

class Decoding(_message.Message):
    __slots__ = ("max_tokens", "min_tokens", "stop", "temperature", "top_k", "top_p", "min_p", "repetition_penalty", "seed", "num_beams", "length_penalty", "num_sequences", "logprobs", "top_logprobs")
    MAX_TOKENS_FIELD_NUMBER: _ClassVar[int]
    MIN_TOKENS_FIELD_NUMBER: _ClassVar[int]
    STOP_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    TOP_P_FIELD_NUMBER: _ClassVar[int]
    MIN_P_FIELD_NUMBER: _ClassVar[int]
    REPETITION_PENALTY_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    NUM_BEAMS_FIELD_NUMBER: _ClassVar[int]
    LENGTH_PENALTY_FIELD_NUMBER: _ClassVar[int]
    NUM_SEQUENCES_FIELD_NUMBER: _ClassVar[int]
    LOGPROBS_FIELD_NUMBER: _ClassVar[int]
    TOP_LOGPROBS_FIELD_NUMBER: _ClassVar[int]
    max_tokens: int
    min_tokens: int
    stop: _containers.RepeatedScalarFieldContainer[str]
    temperature: float
    top_k: int
    top_p: float
    min_p: float
    repetition_penalty: float
    seed: int
    num_beams: int
    length_penalty: float
    num_sequences: int
    logprobs: bool
    top_logprobs: int
    def __init__(self, max_tokens: _Optional[int] = ..., min_tokens: _Optional[int] = ..., stop: _Optional[_Iterable[str]] = ..., temperature: _Optional[float] = ..., top_k: _Optional[int] = ..., top_p: _Optional[float] = ..., min_p: _Optional[float] = ..., repetition_penalty: _Optional[float] = ..., seed: _Optional[int] = ..., num_beams: _Optional[int] = ..., length_penalty: _Optional[float] = ..., num_sequences: _Optional[int] = ..., logprobs: _Optional[bool] = ..., top_logprobs: _Optional[int] = ...) -> None: ...

class GenerateResponse(_message.Message):
    __slots__ = ("model", "results", "timing", "request_id")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    TIMING_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    model: _common_pb2.ModelVersion
    results: _containers.RepeatedCompositeFieldContainer[Generation]
    timing: _common_pb2.Timing
    request_id: str
    def __init__(self, model: _Optional[_Union[_common_pb2.ModelVersion, _Mapping]] = ..., results: _Optional[_Iterable[_Union[Generation, _Mapping]]] = ..., timing: _Optional[_Union[_common_pb2.Timing, _Mapping]] = ..., request_id: _Optional[str] = ...) -> None: ...

class Generation(_message.Message):
    __slots__ = ("sequences", "prompt_tokens", "seed", "truncation", "timing")
    SEQUENCES_FIELD_NUMBER: _ClassVar[int]
    PROMPT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    TRUNCATION_FIELD_NUMBER: _ClassVar[int]
    TIMING_FIELD_NUMBER: _ClassVar[int]
    sequences: _containers.RepeatedCompositeFieldContainer[GeneratedSequence]
    prompt_tokens: int
    seed: int
    truncation: _common_pb2.TruncationReport
    timing: GenerationTiming
    def __init__(self, sequences: _Optional[_Iterable[_Union[GeneratedSequence, _Mapping]]] = ..., prompt_tokens: _Optional[int] = ..., seed: _Optional[int] = ..., truncation: _Optional[_Union[_common_pb2.TruncationReport, _Mapping]] = ..., timing: _Optional[_Union[GenerationTiming, _Mapping]] = ...) -> None: ...

class GeneratedSequence(_message.Message):
    __slots__ = ("text", "tokens", "score", "finish_reason", "attention")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    FINISH_REASON_FIELD_NUMBER: _ClassVar[int]
    ATTENTION_FIELD_NUMBER: _ClassVar[int]
    text: str
    tokens: _containers.RepeatedCompositeFieldContainer[GeneratedToken]
    score: float
    finish_reason: FinishReason
    attention: _containers.RepeatedCompositeFieldContainer[_attention_pb2.AttentionMap]
    def __init__(self, text: _Optional[str] = ..., tokens: _Optional[_Iterable[_Union[GeneratedToken, _Mapping]]] = ..., score: _Optional[float] = ..., finish_reason: _Optional[_Union[FinishReason, str]] = ..., attention: _Optional[_Iterable[_Union[_attention_pb2.AttentionMap, _Mapping]]] = ...) -> None: ...

class GeneratedToken(_message.Message):
    __slots__ = ("id", "text", "logprob", "top")
    ID_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    LOGPROB_FIELD_NUMBER: _ClassVar[int]
    TOP_FIELD_NUMBER: _ClassVar[int]
    id: int
    text: str
    logprob: float
    top: _containers.RepeatedCompositeFieldContainer[TokenProbability]
    def __init__(self, id: _Optional[int] = ..., text: _Optional[str] = ..., logprob: _Optional[float] = ..., top: _Optional[_Iterable[_Union[TokenProbability, _Mapping]]] = ...) -> None: ...

class TokenProbability(_message.Message):
    __slots__ = ("id", "text", "logprob")
    ID_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    LOGPROB_FIELD_NUMBER: _ClassVar[int]
    id: int
    text: str
    logprob: float
    def __init__(self, id: _Optional[int] = ..., text: _Optional[str] = ..., logprob: _Optional[float] = ...) -> None: ...

class GenerationTiming(_message.Message):
    __slots__ = ("queue_s", "first_token_s", "compute_s", "steps", "batch_rows")
    QUEUE_S_FIELD_NUMBER: _ClassVar[int]
    FIRST_TOKEN_S_FIELD_NUMBER: _ClassVar[int]
    COMPUTE_S_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    BATCH_ROWS_FIELD_NUMBER: _ClassVar[int]
    queue_s: float
    first_token_s: float
    compute_s: float
    steps: int
    batch_rows: int
    def __init__(self, queue_s: _Optional[float] = ..., first_token_s: _Optional[float] = ..., compute_s: _Optional[float] = ..., steps: _Optional[int] = ..., batch_rows: _Optional[int] = ...) -> None: ...

class GenerateStreamResponse(_message.Message):
    __slots__ = ("start", "text", "tokens", "attention", "at_s", "end")
    START_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    ATTENTION_FIELD_NUMBER: _ClassVar[int]
    AT_S_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    start: GenerationStart
    text: str
    tokens: _containers.RepeatedCompositeFieldContainer[GeneratedToken]
    attention: _containers.RepeatedCompositeFieldContainer[_attention_pb2.AttentionMap]
    at_s: float
    end: GenerationEnd
    def __init__(self, start: _Optional[_Union[GenerationStart, _Mapping]] = ..., text: _Optional[str] = ..., tokens: _Optional[_Iterable[_Union[GeneratedToken, _Mapping]]] = ..., attention: _Optional[_Iterable[_Union[_attention_pb2.AttentionMap, _Mapping]]] = ..., at_s: _Optional[float] = ..., end: _Optional[_Union[GenerationEnd, _Mapping]] = ...) -> None: ...

class GenerationStart(_message.Message):
    __slots__ = ("model", "request_id", "prompt_tokens", "seed", "truncation", "attention")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    PROMPT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    TRUNCATION_FIELD_NUMBER: _ClassVar[int]
    ATTENTION_FIELD_NUMBER: _ClassVar[int]
    model: _common_pb2.ModelVersion
    request_id: str
    prompt_tokens: int
    seed: int
    truncation: _common_pb2.TruncationReport
    attention: _containers.RepeatedCompositeFieldContainer[AttentionKeys]
    def __init__(self, model: _Optional[_Union[_common_pb2.ModelVersion, _Mapping]] = ..., request_id: _Optional[str] = ..., prompt_tokens: _Optional[int] = ..., seed: _Optional[int] = ..., truncation: _Optional[_Union[_common_pb2.TruncationReport, _Mapping]] = ..., attention: _Optional[_Iterable[_Union[AttentionKeys, _Mapping]]] = ...) -> None: ...

class AttentionKeys(_message.Message):
    __slots__ = ("name", "labels", "growing")
    NAME_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    GROWING_FIELD_NUMBER: _ClassVar[int]
    name: str
    labels: _attention_pb2.AxisLabels
    growing: bool
    def __init__(self, name: _Optional[str] = ..., labels: _Optional[_Union[_attention_pb2.AxisLabels, _Mapping]] = ..., growing: _Optional[bool] = ...) -> None: ...

class GenerationEnd(_message.Message):
    __slots__ = ("finish_reason", "score", "timing", "attention")
    FINISH_REASON_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    TIMING_FIELD_NUMBER: _ClassVar[int]
    ATTENTION_FIELD_NUMBER: _ClassVar[int]
    finish_reason: FinishReason
    score: float
    timing: GenerationTiming
    attention: _containers.RepeatedCompositeFieldContainer[_attention_pb2.AttentionMap]
    def __init__(self, finish_reason: _Optional[_Union[FinishReason, str]] = ..., score: _Optional[float] = ..., timing: _Optional[_Union[GenerationTiming, _Mapping]] = ..., attention: _Optional[_Iterable[_Union[_attention_pb2.AttentionMap, _Mapping]]] = ...) -> None: ...

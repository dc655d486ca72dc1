from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Reduction(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REDUCTION_UNSPECIFIED: _ClassVar[Reduction]
    REDUCTION_MEAN_HEADS: _ClassVar[Reduction]
    REDUCTION_MEAN: _ClassVar[Reduction]
    REDUCTION_MAX: _ClassVar[Reduction]
    REDUCTION_ROLLOUT: _ClassVar[Reduction]
REDUCTION_UNSPECIFIED: Reduction
REDUCTION_MEAN_HEADS: Reduction
REDUCTION_MEAN: Reduction
REDUCTION_MAX: Reduction
REDUCTION_ROLLOUT: Reduction

class AttentionRequest(_message.Message):
    __slots__ = ("names", "layers", "heads", "reduction", "top_k")
    NAMES_FIELD_NUMBER: _ClassVar[int]
    LAYERS_FIELD_NUMBER: _ClassVar[int]
    HEADS_FIELD_NUMBER: _ClassVar[int]
    REDUCTION_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    names: _containers.RepeatedScalarFieldContainer[str]
    layers: _containers.RepeatedScalarFieldContainer[int]
    heads: _containers.RepeatedScalarFieldContainer[int]
    reduction: Reduction
    top_k: int
    def __init__(self, names: _Optional[_Iterable[str]] = ..., layers: _Optional[_Iterable[int]] = ..., heads: _Optional[_Iterable[int]] = ..., reduction: _Optional[_Union[Reduction, str]] = ..., top_k: _Optional[int] = ...) -> None: ...

class AttentionMap(_message.Message):
    __slots__ = ("name", "reduction", "layers", "heads", "query", "key", "shape", "weights", "key_indices")
    NAME_FIELD_NUMBER: _ClassVar[int]
    REDUCTION_FIELD_NUMBER: _ClassVar[int]
    LAYERS_FIELD_NUMBER: _ClassVar[int]
    HEADS_FIELD_NUMBER: _ClassVar[int]
    QUERY_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    KEY_INDICES_FIELD_NUMBER: _ClassVar[int]
    name: str
    reduction: Reduction
    layers: _containers.RepeatedScalarFieldContainer[int]
    heads: _containers.RepeatedScalarFieldContainer[int]
    query: AxisLabels
    key: AxisLabels
    shape: _containers.RepeatedScalarFieldContainer[int]
    weights: bytes
    key_indices: bytes
    def __init__(self, name: _Optional[str] = ..., reduction: _Optional[_Union[Reduction, str]] = ..., layers: _Optional[_Iterable[int]] = ..., heads: _Optional[_Iterable[int]] = ..., query: _Optional[_Union[AxisLabels, _Mapping]] = ..., key: _Optional[_Union[AxisLabels, _Mapping]] = ..., shape: _Optional[_Iterable[int]] = ..., weights: _Optional[bytes] = ..., key_indices: _Optional[bytes] = ...) -> None: ...

class AxisLabels(_message.Message):
    __slots__ = ("tokens", "cells")
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    CELLS_FIELD_NUMBER: _ClassVar[int]
    tokens: Tokens
    cells: Cells
    def __init__(self, tokens: _Optional[_Union[Tokens, _Mapping]] = ..., cells: _Optional[_Union[Cells, _Mapping]] = ...) -> None: ...

class Tokens(_message.Message):
    __slots__ = ("tokens",)
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    tokens: _containers.RepeatedCompositeFieldContainer[Token]
    def __init__(self, tokens: _Optional[_Iterable[_Union[Token, _Mapping]]] = ...) -> None: ...

class Token(_message.Message):
    __slots__ = ("text", "start", "end", "segment")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    SEGMENT_FIELD_NUMBER: _ClassVar[int]
    text: str
    start: int
    end: int
    segment: int
    def __init__(self, text: _Optional[str] = ..., start: _Optional[int] = ..., end: _Optional[int] = ..., segment: _Optional[int] = ...) -> None: ...

class Cells(_message.Message):
    __slots__ = ("rows", "columns", "leading")
    ROWS_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    LEADING_FIELD_NUMBER: _ClassVar[int]
    rows: int
    columns: int
    leading: int
    def __init__(self, rows: _Optional[int] = ..., columns: _Optional[int] = ..., leading: _Optional[int] = ...) -> None: ...

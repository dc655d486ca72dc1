"""What the step graph carries from step to step, read off its inputs and outputs."""

import re
from collections.abc import Sequence

import onnx_ir

from models.importing.failure import ImportRefused
from models.importing.folder import WITH_PAST_FILE
from server.manifest import Axis, FixedAxis, LengthAxis, RowAxis, StateSpec
from server.tensors import Datatype

MASK_STATE = "encoder_attention_mask"
HIDDEN_STATE = "encoder_hidden_states"
HIDDEN_OUTPUT = "last_hidden_state"
"""What the encoder calls them."""
SOURCE_AXIS = LengthAxis()
"""Of the source, in inputs and states alike."""
PAST_AXIS = LengthAxis(name="past")

_DATATYPES = {onnx_ir.DataType.FLOAT: Datatype.FP32, onnx_ir.DataType.INT64: Datatype.INT64}
_PAST = re.compile(r"past_key_values\.(\d+)\.(decoder|encoder)\.(key|value)")
_GROWING_AXIS = 2
"""Of keys and values: [row, head, position, width]."""


def states_of(graph: onnx_ir.Graph, tokens: onnx_ir.Value) -> tuple[StateSpec, ...]:
    """The states of the decoder with a past, in the order of its inputs; `tokens` is the one input that is none.

    Keys and values of the text grow, those of the source are constant, and so are mask and hidden states.
    Raises ImportRefused if it has an input that is none of these, one without a known type and shape, keys that do not
    come back, or no keys of the text at all.
    """
    outputs = {str(value.name) for value in graph.outputs}
    states = tuple(_state(value, outputs) for value in graph.inputs if value is not tokens)
    if not any(state.kind == "append" for state in states):
        raise ImportRefused(f"{WITH_PAST_FILE} takes no past_key_values: export with a past")
    return states


def sources_of(states: Sequence[StateSpec]) -> tuple[str, ...]:
    """What the encode graph must make for them, in their order."""
    return tuple(state.source for state in states if state.source is not None)


def _state(value: onnx_ir.Value, outputs: set[str]) -> StateSpec:
    name = str(value.name)
    if name == "use_cache_branch":
        raise ImportRefused(f"{WITH_PAST_FILE} is a merged decoder: export without merging, with --no-post-process")
    if name == MASK_STATE:
        return _constant(value, MASK_STATE, (RowAxis(), SOURCE_AXIS))
    if name == HIDDEN_STATE:
        return _constant(value, HIDDEN_OUTPUT, (RowAxis(), SOURCE_AXIS, FixedAxis(size=_size(value, 2, 3))))
    match = _PAST.fullmatch(name)
    if match is None:
        raise ImportRefused(f"{WITH_PAST_FILE} reads {name}, which is not known how to feed")
    layer, side, kind = match.groups()
    present = f"present.{layer}.{side}.{kind}"
    heads, width = FixedAxis(size=_size(value, 1, 4)), FixedAxis(size=_size(value, 3, 4))
    if side == "encoder":
        return _constant(value, present, (RowAxis(), heads, SOURCE_AXIS, width))
    if present not in outputs:
        raise ImportRefused(f"{WITH_PAST_FILE} takes {name}, but does not give {present}")
    return StateSpec(
        name=name,
        output=present,
        datatype=datatype_of(value),
        axes=(RowAxis(), heads, PAST_AXIS, width),
        kind="append",
        growing_axis=_GROWING_AXIS,
    )


def _constant(value: onnx_ir.Value, source: str, axes: tuple[Axis, ...]) -> StateSpec:
    return StateSpec(name=str(value.name), source=source, datatype=datatype_of(value), axes=axes, kind="constant")


def datatype_of(value: onnx_ir.Value) -> Datatype:
    """Raises ImportRefused for any type but float32 and int64."""
    datatype = None if value.dtype is None else _DATATYPES.get(value.dtype)
    if datatype is None:
        raise ImportRefused(f"{value.name} of the export is {value.dtype}: export in fp32")
    return datatype


def _size(value: onnx_ir.Value, axis: int, rank: int) -> int:
    size = None if value.shape is None or value.shape.rank() != rank else value.shape[axis]
    if not isinstance(size, int):
        raise ImportRefused(f"{WITH_PAST_FILE}: {value.name} has no fixed size on axis {axis} of {rank}")
    return size

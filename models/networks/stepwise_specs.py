"""The manifest's words for what networks that write token by token read, carry and return."""

from models.networks.stepwise import INPUT_IDS, LENGTH, LENGTHS, LOGITS, MASK, NEW, POSITION
from server.manifest import (
    AttentionSpec,
    Axis,
    FixedAxis,
    InputSpec,
    LengthAxis,
    OutputSpec,
    RowAxis,
    StateSpec,
    TokenAxis,
)
from server.tensors import Datatype


def ids_input(max_len: int) -> InputSpec:
    """Token ids, int64 [row, length]."""
    return InputSpec(name=INPUT_IDS, datatype=Datatype.INT64, axes=(RowAxis(), LengthAxis(name=LENGTH, max=max_len)))


def source_inputs(max_len: int) -> tuple[InputSpec, ...]:
    """A source's ids and their mask, which is bool [row, length]."""
    ids = ids_input(max_len)
    mask = InputSpec(name=MASK, datatype=Datatype.BOOL, axes=ids.axes, pad=False, role="mask", optional=True)
    return ids, mask


def logits_output(vocab_size: int) -> OutputSpec:
    """Scores of what follows the last of the new tokens, float32 [row, vocabulary]."""
    return OutputSpec(name=LOGITS, datatype=Datatype.FP32, axes=(RowAxis(), FixedAxis(size=vocab_size)), role="logits")


def constant(name: str, *axes: Axis, datatype: Datatype = Datatype.FP32) -> StateSpec:
    """What the `encode` graph makes under this name and no step changes, [row, *axes]."""
    return StateSpec(name=name, source=name, datatype=datatype, axes=(RowAxis(), *axes), kind="constant")


def caches(num_layers: int, num_heads: int, d_model: int, max_len: int) -> tuple[StateSpec, ...]:
    """Each layer's keys and values of what was written, in buffers that steps append to."""
    axes = (
        RowAxis(),
        FixedAxis(size=num_heads),
        LengthAxis(name=POSITION, max=max_len),
        FixedAxis(size=d_model // num_heads),
    )
    return tuple(
        StateSpec(
            name=f"{kind}_{layer}",
            output=f"next_{kind}_{layer}",
            datatype=Datatype.FP32,
            axes=axes,
            kind="append",
            growing_axis=2,
            length_input=LENGTHS,
            aliasable=True,
        )
        for layer in range(num_layers)
        for kind in ("self_key", "self_value")
    )


def step_maps(name: str, mechanism: str, num_layers: int, keys: str) -> AttentionSpec:
    """The weights of each layer for the new tokens, over the length axis `keys`."""
    return AttentionSpec(
        name=name,
        mechanism=mechanism,
        outputs=tuple(f"{name}_attention_{layer}" for layer in range(num_layers)),
        query=TokenAxis(length=NEW),
        key=TokenAxis(length=keys),
    )


def map_outputs(maps: AttentionSpec, num_heads: int, max_keys: int) -> tuple[OutputSpec, ...]:
    """The outputs that hold these weights, float32 [row, head, new, key]."""
    assert isinstance(maps.key, TokenAxis)  # noqa: S101 - `step_maps` made it
    axes = (
        RowAxis(),
        FixedAxis(size=num_heads),
        LengthAxis(name=NEW),
        LengthAxis(name=maps.key.length, max=max_keys),
    )
    return tuple(OutputSpec(name=name, datatype=Datatype.FP32, axes=axes, role="attention") for name in maps.outputs)

"""A mechanism by itself: query, key, value and mask in, context and weights out; nothing is learned."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
from torch import Tensor, nn
from typing_extensions import override

from models.attention import Attended
from models.networks import BareAttentionConfig, bare_attention
from models.tasks.task import Signature, Weightless
from server.manifest import (
    AttentionSpec,
    Axis,
    BatchingSpec,
    CodecSpec,
    FixedAxis,
    FreeAxis,
    InputSpec,
    LengthAxis,
    OutputSpec,
    RowAxis,
    TokenAxis,
)
from server.manifest import Task as TaskName
from server.tensors import Array, Datatype

QUERY, KEY, VALUE, MASK = "query", "key", "value", "mask"
CONTEXT, WEIGHTS = "context", "weights"
QUERIES, KEYS = "queries", "keys"

WIDEST = 1024
"""The largest width of a query, key or value."""
LONGEST = 1024
"""The most queries and the most keys of a mechanism that holds one number for each pair of them."""
MOST_HEADS, LONGEST_OF_HEADS = 32, 512
LONGEST_OF_HIDDEN, WIDEST_HIDDEN = 256, 256
"""Additive scores hold queries times keys times hidden width: 64 MiB for a row at these bounds."""
FEW_ROWS = BatchingSpec(max_rows=8)
"""For mechanisms that hold several numbers for each pair, so that a batch stays in hundreds of megabytes."""


class BareMechanism(Weightless[BareAttentionConfig]):
    """One mechanism of `models.networks.bare_attention`, with its parameters as inputs.

    Widths and heads are free axes: zeros at the end of a vector would change what it is divided by, so only rows of
    equal widths run together. Queries and keys are lengths; a padded pair is masked, which changes nothing.
    """

    name: ClassVar[TaskName] = "attention"

    @property
    @override
    def source(self) -> str:
        return "none: the caller brings the parameters of the formula"

    @override
    def build(self, config: BareAttentionConfig) -> nn.Module:
        return bare_attention(config)

    @override
    def signature(self, config: BareAttentionConfig, codec: CodecSpec | None) -> Signature:
        return SIGNATURES[config.mechanism]

    @override
    def flatten(self, output: object) -> tuple[Tensor, ...]:
        if not isinstance(output, Attended):
            raise TypeError(f"expected context and weights, not {type(output).__name__}")
        weights = output.weights
        # Weights go out as [row, head, query, key], whether the mechanism has heads or not.
        return output.context, weights if weights.dim() == 4 else weights.unsqueeze(1)

    @override
    def samples(self, config: BareAttentionConfig, seed: int) -> Sequence[Mapping[str, Array]]:
        rng = np.random.default_rng(seed)
        inputs = SIGNATURES[config.mechanism].inputs
        return [_sample(rng, inputs, lengths, widest) for lengths, widest in SAMPLE_SIZES]


SAMPLE_SIZES = (((3, 3), 3), ((1, 1), 3), ((5, 2), 3), ((2, 9), 5), ((11, 4), 5))
"""(queries, keys) of each sample, and how large its free axes are at most."""
MANY = 4
"""In a sample of more queries than this, those after it may attend to nothing."""


def _sample(
    rng: np.random.Generator, inputs: Sequence[InputSpec], lengths: tuple[int, int], widest: int
) -> dict[str, Array]:
    """Normal numbers, and a mask that leaves about two pairs in three; of many queries some attend to nothing."""
    sizes = dict(zip((QUERIES, KEYS), lengths, strict=True))
    row: dict[str, Array] = {}
    for spec in inputs:
        shape: list[int] = []
        for axis in spec.axes:
            if isinstance(axis, LengthAxis):
                shape.append(sizes[axis.name])
            elif isinstance(axis, FreeAxis):
                # The widths of one sample differ from each other, those of samples of one `widest` do not.
                assert axis.name is not None  # noqa: S101
                shape.append(sizes.setdefault(axis.name, max(1, widest - len(sizes) % 3)))
            else:
                shape.append(axis.size if isinstance(axis, FixedAxis) else 1)
        if spec.name == MASK:
            mask = rng.random(shape) < 2 / 3
            mask[..., 0] = True
            mask[:, MANY:] = False
            row[MASK] = mask
        else:
            row[spec.name] = rng.normal(size=shape).astype(np.float32)
    return row


def _free(name: str, most: int = WIDEST) -> FreeAxis:
    return FreeAxis(name=name, max=most)


def _signature(
    mechanism: str,
    *,
    longest: int,
    query_width: str,
    key_width: str,
    context_width: str = "value_width",
    head: FixedAxis | FreeAxis = FixedAxis(size=1),  # noqa: B008 - immutable
    parameters: Mapping[str, tuple[Axis, ...]] | None = None,
    batching: BatchingSpec = BatchingSpec(),  # noqa: B008 - immutable
) -> Signature:
    row, queries, keys = RowAxis(), LengthAxis(name=QUERIES, max=longest), LengthAxis(name=KEYS, max=longest)
    data: dict[str, tuple[Axis, ...]] = {
        QUERY: (row, queries, _free(query_width)),
        KEY: (row, keys, _free(key_width)),
        VALUE: (row, keys, _free("value_width")),
    }
    mask = InputSpec(
        name=MASK, datatype=Datatype.BOOL, axes=(row, queries, keys), pad=False, role="mask", optional=True
    )
    given = {name: (row, *axes) for name, axes in (parameters or {}).items()}
    return Signature(
        inputs=(
            *(InputSpec(name=name, datatype=Datatype.FP32, axes=axes) for name, axes in data.items()),
            mask,
            *(InputSpec(name=name, datatype=Datatype.FP32, axes=axes) for name, axes in given.items()),
        ),
        outputs=(
            OutputSpec(name=CONTEXT, datatype=Datatype.FP32, axes=(row, queries, _free(context_width))),
            OutputSpec(name=WEIGHTS, datatype=Datatype.FP32, axes=(row, head, queries, keys), role="attention"),
        ),
        attention=(
            AttentionSpec(
                name="pairs",
                mechanism=mechanism,
                outputs=(WEIGHTS,),
                query=TokenAxis(length=QUERIES),
                key=TokenAxis(length=KEYS),
            ),
        ),
        batching=batching,
    )


_HEADS, _HIDDEN = _free("heads", MOST_HEADS), _free("hidden_width", WIDEST_HIDDEN)

SIGNATURES: Mapping[str, Signature] = {
    "scaled-dot-product": _signature(
        "scaled dot-product attention", longest=LONGEST, query_width="width", key_width="width"
    ),
    "dot": _signature("dot-product attention", longest=LONGEST, query_width="width", key_width="width"),
    "additive": _signature(
        "additive attention",
        longest=LONGEST_OF_HIDDEN,
        query_width="query_width",
        key_width="key_width",
        parameters={
            "project_query": (_free("query_width"), _HIDDEN),
            "project_key": (_free("key_width"), _HIDDEN),
            "combine": (_HIDDEN,),
        },
        batching=FEW_ROWS,
    ),
    "concat": _signature(
        "concat attention",
        longest=LONGEST_OF_HIDDEN,
        query_width="width",
        key_width="width",
        parameters={"weight": (FixedAxis(size=2), _free("width"), _HIDDEN), "combine": (_HIDDEN,)},
        batching=FEW_ROWS,
    ),
    "bilinear": _signature(
        "bilinear attention",
        longest=LONGEST,
        query_width="query_width",
        key_width="key_width",
        parameters={"weight": (_free("query_width"), _free("key_width"))},
    ),
    "linear": _signature("linear attention", longest=LONGEST, query_width="width", key_width="width"),
    "multi-head": _signature(
        "multi-head attention",
        longest=LONGEST_OF_HEADS,
        query_width="query_width",
        key_width="key_width",
        context_width="context_width",
        head=_HEADS,
        parameters={
            "project_query": (_HEADS, _free("query_width"), _free("head_width")),
            "project_key": (_HEADS, _free("key_width"), _free("head_width")),
            "project_value": (_HEADS, _free("value_width"), _free("head_value_width")),
            "project_context": (_HEADS, _free("head_value_width"), _free("context_width")),
        },
        batching=FEW_ROWS,
    ),
}
"""The face of each mechanism, by the names of `models.networks.bare_attention.MECHANISMS`."""

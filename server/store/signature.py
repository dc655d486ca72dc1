"""A manifest's inputs and outputs out of what a graph declares, for folders that bring no manifest."""

from collections.abc import Sequence

from server.manifest import Axis, FixedAxis, FreeAxis, InputSpec, OutputSpec, RowAxis
from server.runtime.session import GraphTensor

Dimension = int | str | None


def axis_of(dimension: Dimension) -> Axis:
    """A fixed axis for a size, a free one for a symbol or an unknown."""
    return FixedAxis(size=dimension) if isinstance(dimension, int) else FreeAxis()


def counts_rows(tensors: Sequence[GraphTensor]) -> bool:
    """Whether the first axis of all tensors can be one batch axis: none is fixed, and no two symbols differ."""
    if not all(tensor.shape and not isinstance(tensor.shape[0], int) for tensor in tensors):
        return False
    return len({tensor.shape[0] for tensor in tensors} - {None}) <= 1


def axes_of(tensor: GraphTensor, *, rows: bool) -> tuple[Axis, ...]:
    """The axes of one tensor; with `rows`, the first one counts rows."""
    axes = tuple(axis_of(dimension) for dimension in tensor.shape)
    return (RowAxis(), *axes[1:]) if rows else axes


def specs_of(
    inputs: Sequence[GraphTensor], outputs: Sequence[GraphTensor]
) -> tuple[tuple[InputSpec, ...], tuple[OutputSpec, ...]]:
    """The signature of a graph of which nothing more is known: requests of equal shape run together, nothing pads."""
    rows = counts_rows([*inputs, *outputs])
    return (
        tuple(InputSpec(name=t.name, datatype=t.datatype, axes=axes_of(t, rows=rows)) for t in inputs),
        tuple(OutputSpec(name=t.name, datatype=t.datatype, axes=axes_of(t, rows=rows)) for t in outputs),
    )

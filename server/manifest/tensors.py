"""Inputs, outputs and states: what batching must know of each axis."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from server.manifest.base import Frozen
from server.tensors import Datatype


class RowAxis(Frozen):
    """The batch axis: one entry a row."""

    kind: Literal["row"] = "row"


class LengthAxis(Frozen):
    """An axis that is padded to the longest row of the batch; axes of the same `name` have the same length."""

    kind: Literal["length"] = "length"
    name: str = "length"
    max: int | None = Field(default=None, ge=1)
    """The longest length that the graph takes; None: no bound of its own."""


class FixedAxis(Frozen):
    """An axis of one size."""

    kind: Literal["fixed"] = "fixed"
    size: int = Field(ge=0)


class FreeAxis(Frozen):
    """An axis of any size that must not be padded: only requests of equal size run together."""

    kind: Literal["free"] = "free"
    name: str | None = None
    """Axes of the same name have the same size; None: equal to no other."""
    max: int | None = Field(default=None, ge=1)
    """The largest size that the graph takes; None: no bound of its own."""


Axis = Annotated[RowAxis | LengthAxis | FixedAxis | FreeAxis, Field(discriminator="kind")]


class InputSpec(Frozen):
    """One input of the model."""

    name: str = Field(min_length=1)
    datatype: Datatype
    axes: tuple[Axis, ...]
    pad: float | int | bool = 0
    """The value of padding along length axes, and of a whole absent optional input that is no mask."""
    role: Literal["data", "mask"] = "data"
    """A mask is 1 (true) where a row has content and `pad` where it is padding."""
    optional: bool = False
    """May be left out: a mask is then all ones over the request's own length, other inputs are all `pad`."""


OutputRole = Literal["data", "logits", "probabilities", "attention", "embedding"]


class OutputSpec(Frozen):
    """One output of the model; its length axes are cropped back to each request's own length."""

    name: str = Field(min_length=1)
    datatype: Datatype
    axes: tuple[Axis, ...]
    role: OutputRole = "data"


class StateSpec(Frozen):
    """One state of a `step` graph, carried from step to step; its first axis counts rows."""

    name: str = Field(min_length=1)
    """The step graph's input that holds the state before the step."""
    output: str | None = Field(default=None, min_length=1)
    """The step graph's output that holds it afterwards; None for a `constant`, which no step changes."""
    source: str | None = Field(default=None, min_length=1)
    """The `encode` graph's output that it starts from; None: zeros, and for `append` nothing at all."""
    datatype: Datatype
    axes: tuple[Axis, ...]
    kind: Literal["append", "replace", "constant"]
    """`append`: a step adds its new positions along `growing_axis`; `replace`: a step makes it anew."""
    growing_axis: int | None = Field(default=None, ge=1)
    """The axis along which `append` adds, None for the other kinds."""
    length_input: str | None = Field(default=None, min_length=1)
    """The step graph's input, int32 [row], that tells how many positions of an `append` state a row holds before the
    step. None: the graph takes none, and only rows that hold equally many can share a run."""
    aliasable: bool = False
    """Past and present may share one buffer, which may be longer along `growing_axis` than what it holds."""
    reorderable: bool = True
    """Beams may move this state between rows."""

    @model_validator(mode="after")
    def _consistent(self) -> "StateSpec":
        appends = self.kind == "append"
        if not self.axes or self.axes[0].kind != "row" or any(axis.kind == "free" for axis in self.axes):
            raise ValueError(f"state {self.name}: the first axis must count rows, and no axis may be free")
        if (self.output is None) != (self.kind == "constant"):
            raise ValueError(f"state {self.name}: a constant has no output, every other kind has one")
        if self.kind == "constant" and self.source is None:
            raise ValueError(f"state {self.name}: a constant needs a source")
        if appends != (self.growing_axis is not None):
            raise ValueError(f"state {self.name}: `append` needs a growing_axis, other kinds have none")
        if self.growing_axis is not None and (
            self.growing_axis >= len(self.axes) or self.axes[self.growing_axis].kind != "length"
        ):
            raise ValueError(f"state {self.name}: growing_axis must be one of its length axes")
        if not appends and (self.aliasable or self.length_input is not None):
            raise ValueError(f"state {self.name}: only `append` can be aliasable or have a length_input")
        if self.aliasable and self.length_input is None:
            raise ValueError(f"state {self.name}: a shared buffer needs a length_input")
        return self

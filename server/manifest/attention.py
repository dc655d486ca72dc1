"""Attention weights that a graph can return, and what their axes stand for."""

from typing import Annotated, Literal

from pydantic import Field

from server.manifest.base import Frozen


class TokenAxis(Frozen):
    """Positions along a map's axis are the tokens of the length axis named `length`."""

    kind: Literal["tokens"] = "tokens"
    length: str = "length"


class CellAxis(Frozen):
    """Positions along a map's axis are the cells of a grid over the image, row-major."""

    kind: Literal["cells"] = "cells"
    rows: int = Field(ge=1)
    columns: int = Field(ge=1)


class AttentionSpec(Frozen):
    """One attention mechanism whose weights may be asked for; each output is [row, head, query, key]."""

    name: str = Field(min_length=1)
    mechanism: str = Field(min_length=1)
    """The mechanism's name as the field knows it, such as `multi-head self-attention`."""
    outputs: tuple[str, ...] = Field(min_length=1)
    """The outputs that hold the weights, first layer first."""
    query: Annotated[TokenAxis | CellAxis, Field(discriminator="kind")]
    key: Annotated[TokenAxis | CellAxis, Field(discriminator="kind")]

"""The outputs of a model that writes: texts, tokens and what is known of them, as tensors.

Rows are the texts, those of one input one after another. Shorter rows of tokens are filled up at the end: ids with -1,
which no token has, numbers with 0.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from server.generation.result import FinishReason, TopToken, Weights
from server.manifest import LengthAxis, Manifest, OutputSpec, RowAxis
from server.rpc.open_inference.codec_input import stack
from server.tensors import Array, Datatype

NO_TOKEN = -1
TOP = ("top_tokens", "top_logprobs")
"""Outputs that need the parameter `top_logprobs`."""
LOGPROBS = ("logprobs", *TOP)
"""Outputs that are made where they are asked for, by name or by parameter."""
AT_END = ("score", "finish_reason", "seed")
"""Outputs of which a streamed text has only one, in its last increment."""

_TEXTS, _TOKENS, _TOP = (RowAxis(),), (RowAxis(), LengthAxis(name="tokens")), LengthAxis(name="top")
_OUTPUTS = (
    OutputSpec(name="text", datatype=Datatype.BYTES, axes=_TEXTS),
    OutputSpec(name="tokens", datatype=Datatype.INT64, axes=_TOKENS),
    OutputSpec(name="score", datatype=Datatype.FP32, axes=_TEXTS),
    OutputSpec(name="finish_reason", datatype=Datatype.BYTES, axes=_TEXTS),
    OutputSpec(name="seed", datatype=Datatype.INT64, axes=_TEXTS),
    OutputSpec(name="logprobs", datatype=Datatype.FP32, axes=_TOKENS),
    OutputSpec(name="top_tokens", datatype=Datatype.INT64, axes=(*_TOKENS, _TOP)),
    OutputSpec(name="top_logprobs", datatype=Datatype.FP32, axes=(*_TOKENS, _TOP)),
)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Row:
    """One text, or what it has grown by."""

    text: str
    ids: Sequence[int]
    logprobs: Sequence[float] = ()
    top: Sequence[Sequence[TopToken]] = ()
    attention: Mapping[str, Weights] | None = None
    score: float = 0.0
    finish: FinishReason | None = None
    seed: int = 0


def written_outputs(manifest: Manifest) -> tuple[OutputSpec, ...]:
    """What a model that writes answers with: the texts and what is known of them, and its attention maps."""
    return (*_OUTPUTS, *(spec for spec in manifest.outputs if spec.role == "attention"))


def usual_outputs(*, logprobs: bool, top_logprobs: int) -> tuple[OutputSpec, ...]:
    """What is answered where no output is named: all but attention, and what was not asked for."""
    left_out = {*(() if logprobs else ("logprobs",)), *(() if top_logprobs else TOP)}
    return tuple(spec for spec in _OUTPUTS if spec.name not in left_out)


def written_arrays(rows: Sequence[Row], names: Iterable[str], top: int) -> dict[str, Array]:
    """The outputs of these names over all rows; `top` is how many of the likeliest tokens were asked for."""
    return {name: _array(rows, name, top) for name in names}


def _array(rows: Sequence[Row], name: str, top: int) -> Array:
    match name:
        case "text":
            return _bytes([row.text for row in rows])
        case "finish_reason":
            return _bytes([row.finish.value if row.finish else "" for row in rows])
        case "score":
            return np.array([row.score for row in rows], np.float32)
        case "seed":
            return np.array([row.seed for row in rows], np.int64)
        case "tokens":
            return _filled([np.array(row.ids, np.int64) for row in rows], NO_TOKEN)
        case "logprobs":
            return _filled([np.array(row.logprobs, np.float32) for row in rows], 0)
        case "top_tokens":
            return _filled([_top([[t.id for t in each] for each in row.top], top, np.int64) for row in rows], NO_TOKEN)
        case "top_logprobs":
            return _filled([_top([[t.logprob for t in each] for each in row.top], top, np.float32) for row in rows], 0)
    return stack([row.attention[name] if row.attention else _NO_WEIGHTS for row in rows])


_NO_WEIGHTS = np.zeros((1, 0, 0, 0), np.float32)


def _bytes(texts: Sequence[str]) -> Array:
    held = np.empty(len(texts), np.object_)
    held[:] = [text.encode() for text in texts]
    return held


def _top(found: Sequence[Sequence[float]], top: int, dtype: type[np.generic]) -> Array:
    """[tokens, top]; a vocabulary may have fewer tokens than were asked for."""
    filled = np.full((len(found), top), NO_TOKEN if dtype is np.int64 else 0, dtype)
    for index, each in enumerate(found):
        filled[index, : len(each)] = each
    return filled


def _filled(rows: Sequence[Array], fill: float) -> Array:
    """[(a, …), (b, …), …] -> (n, max(a, b, …), …)."""
    longest = max(len(row) for row in rows)
    filled = np.full((len(rows), longest, *rows[0].shape[1:]), fill, rows[0].dtype)
    for index, row in enumerate(rows):
        filled[index, : len(row)] = row
    return filled

"""What each head is worth: the network's answer with one head switched off, for every head in turn.

A head of multi-head attention is off when its slice of the merged context is zero before the last projection; spatial
self-attention, one head behind a gate, is off when the gate is shut.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.attention import Attended, SpatialSelfAttention
from models.explain.explanation import HeadEffect, Missing
from models.explain.network import Explained, PublishedNetwork
from models.explain.trace import Attending, sources, watched
from models.explain.weights import softmax
from server.manifest import AttentionSpec
from server.tensors import Array


def ablate(
    network: PublishedNetwork,
    inputs: Mapping[str, Array],
    spec: AttentionSpec,
    explained: Explained,
    heads: Mapping[int, Sequence[int]],
) -> tuple[HeadEffect, ...] | Missing:
    """Switches off the given heads of each layer one by one, in the mapping's order."""
    with torch.inference_mode(), watched(network.module) as seen:
        outputs = network.run(inputs)
        calls = {number: sources(outputs[spec.outputs[number]], seen) for number in heads}
    whole = float(_probabilities(outputs, explained)[explained.label])
    effects: list[HeadEffect] = []
    for number, numbers in heads.items():
        switch = next((call for call in calls[number] if _can_switch(call.module)), None)
        if switch is None:
            return Missing(f"layer {number} of {spec.name!r} has no heads that can be switched off")
        for head in numbers:
            with torch.inference_mode(), head_off(switch, head):
                probabilities = _probabilities(network.run(inputs), explained)
            left = float(probabilities[explained.label])
            effects.append(HeadEffect(number, head, left, left - whole, int(probabilities.argmax())))
    return tuple(effects)


@contextmanager
def head_off(attending: Attending, head: int) -> Iterator[None]:
    """Switches one head of one call of a module off inside the block.

    Raises ValueError if the module is neither multi-head nor spatial self-attention, or has no such head.
    """
    module, hook = attending.module, _Calls(attending.call)
    if not _can_switch(module):
        raise ValueError(f"the heads of {type(module).__name__} cannot be switched off")
    count = _num_heads(module)
    if not 0 <= head < count:
        raise ValueError(f"no head {head}: the module has {count}")
    if isinstance(module, SpatialSelfAttention):

        def shut(_: nn.Module, args: tuple[Tensor, ...], output: Attended) -> Attended:
            return Attended(args[0], output.weights) if hook.is_the_one() else output

        handle = module.register_forward_hook(shut)
    else:
        projection: nn.Linear = module.project_context  # type: ignore[assignment]

        def silence(_: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            return (_without(args[0], head, count), *args[1:]) if hook.is_the_one() else args

        handle = projection.register_forward_pre_hook(silence)
    try:
        yield
    finally:
        handle.remove()


class _Calls:
    """Counts a module's calls, to act on one of them: layers may share a module."""

    def __init__(self, wanted: int) -> None:
        self._wanted = wanted
        self._next = 0

    def is_the_one(self) -> bool:
        """Whether this call, the next, is the wanted one."""
        self._next += 1
        return self._next - 1 == self._wanted


def _without(context: Tensor, head: int, count: int) -> Tensor:
    """Merged heads (...,D) with the slice of one of them zero."""
    width = context.shape[-1] // count
    silenced = context.clone()
    silenced[..., head * width : (head + 1) * width] = 0.0
    return silenced


def _can_switch(module: nn.Module) -> bool:
    """Spatial self-attention, and whatever merges `num_heads` heads before a `project_context`."""
    if isinstance(module, SpatialSelfAttention):
        return True
    projection, heads = getattr(module, "project_context", None), getattr(module, "num_heads", None)
    return isinstance(projection, nn.Linear) and isinstance(heads, int) and projection.in_features % heads == 0


def _num_heads(module: nn.Module) -> int:
    return 1 if isinstance(module, SpatialSelfAttention) else int(module.num_heads)  # type: ignore[arg-type]


def _probabilities(outputs: Mapping[str, Tensor], explained: Explained) -> NDArray[np.float64]:
    return softmax(outputs[explained.logits][0].numpy().astype(np.float64))

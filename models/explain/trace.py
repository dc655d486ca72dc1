"""Which module computed which weights: a pass through the network, watched."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True, eq=False)
class Attending:
    """One call of a module that returned context and weights."""

    module: nn.Module
    call: int
    """Which call of this module in the pass, from 0: layers may share one."""
    weights: Tensor


@contextmanager
def watched(network: nn.Module) -> Iterator[list[Attending]]:
    """Notes every call, inside the block, of a module that returns weights; inner modules come before outer ones."""
    seen: list[Attending] = []

    def note(module: nn.Module, _: object, output: object) -> None:
        weights = getattr(output, "weights", None)
        if isinstance(output, tuple) and isinstance(weights, Tensor):
            call = sum(one.module is module for one in seen)
            seen.append(Attending(module, call, weights))

    hooks = [module.register_forward_hook(note) for module in network.modules()]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def sources(returned: Tensor, seen: Sequence[Attending]) -> tuple[Attending, ...]:
    """The calls whose weights are the ones returned, if only seen from another angle: the innermost first.

    They share memory, which nothing else in the pass does while all of it is alive.
    """
    memory = returned.untyped_storage().data_ptr()
    return tuple(
        one
        for one in seen
        if one.weights.numel() == returned.numel() and one.weights.untyped_storage().data_ptr() == memory
    )

"""How many bytes of attention weights a tensor request would bring back, told from its shapes before anything runs."""

from collections.abc import Callable, Iterable

from server.errors import AttentionTooLarge
from server.manifest import Manifest
from server.tensors import NUMPY_DTYPES


def check_attention_bytes(
    manifest: Manifest, outputs: Iterable[str], rows: int, length: Callable[[str], int], max_bytes: int
) -> None:
    """Adds up the asked-for outputs that are attention maps; `length` gives the size of a named length or free axis.

    Raises AttentionTooLarge, naming the bound and the call that can reduce maps.
    """
    total = 0
    for name in outputs:
        spec = manifest.output(name)
        if spec is None or spec.role != "attention":
            continue
        size = NUMPY_DTYPES[spec.datatype].itemsize
        for axis in spec.axes:
            if axis.kind == "row":
                size *= rows
            elif axis.kind in ("length", "free") and axis.name is not None:
                size *= length(axis.name)
            elif axis.kind == "fixed":
                size *= axis.size
        total += size
    if total > max_bytes:
        raise AttentionTooLarge(
            f"{total} bytes of attention weights are over the limit of {max_bytes}; ask for fewer maps or rows, or for "
            "a reduction through attendant.v1",
            {"bytes": str(total), "max_bytes": str(max_bytes)},
        )

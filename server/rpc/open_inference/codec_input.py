"""One BYTES input in place of a model's tensors: texts or images, which the model's own codec turns into rows."""

from collections.abc import Mapping, Sequence

import numpy as np

from server.codecs.codec import EncodedRow
from server.errors import EmptyInput, RowLimitExceeded, ServeError, SignatureMismatch, UndecodableInput
from server.rpc.call import Call
from server.rpc.open_inference.attention_bound import check_attention_bytes
from server.rpc.open_inference.parameters import RequestParameters
from server.rpc.rows import for_each, infer_row, naming_input
from server.servable import Servable
from server.settings import SecuritySettings
from server.tensors import Array, Datatype, Tensor


def codec_input(servable: Servable, inputs: Mapping[str, Tensor]) -> Tensor | None:
    """The tensor named `text` or `image` after the model's codec, if it is the only input and no input of the graph."""
    manifest = servable.manifest
    if manifest.codec is None or not manifest.batched or manifest.input(manifest.codec.kind) is not None:
        return None
    return inputs.get(manifest.codec.kind) if len(inputs) == 1 else None


async def infer_contents(
    servable: Servable,
    tensor: Tensor,
    outputs: Sequence[str],
    call: Call,
    parameters: RequestParameters,
    security: SecuritySettings,
) -> dict[str, Array]:
    """Encodes and infers each element as a row of its own; outputs stacked, (n, ...) each.

    Where rows differ in length, shorter ones are filled up with zeros at the end.

    Raises SignatureMismatch, EmptyInput, RowLimitExceeded for the tensor; what the codec raises, naming the element;
    AttentionTooLarge; what `Servable.infer` raises.
    """
    contents = read_contents(servable, tensor, security.max_inputs)

    async def encode(index: int, content: str | bytes) -> EncodedRow:
        try:
            return await servable.encode(content, parameters.truncation)
        except ServeError as error:
            raise naming_input(error, index) from error

    rows = await for_each(contents, encode)
    longest = max(row.kept_tokens for row in rows)
    check_attention_bytes(servable.manifest, outputs, len(rows), lambda _: longest, security.max_attention_bytes)
    answers = await for_each(
        rows, lambda _, row: infer_row(servable, row, outputs, call, parameters.priority, parameters.precision)
    )
    return {name: stack([answer.outputs[name] for answer in answers]) for name in outputs}


def read_contents(servable: Servable, tensor: Tensor, max_inputs: int) -> list[str | bytes]:
    """The elements of the tensor, texts decoded.

    Raises SignatureMismatch, EmptyInput, RowLimitExceeded; UndecodableInput, naming the element.
    """
    kind = "text" if servable.manifest.codec and servable.manifest.codec.kind == "text" else "image"
    if tensor.datatype is not Datatype.BYTES:
        raise SignatureMismatch(f"input {kind!r}: expected BYTES, got {tensor.datatype}")
    if tensor.array.ndim not in (1, 2) or tensor.shape[1:] not in ((), (1,)):
        raise SignatureMismatch(f"input {kind!r}: expected shape [n] or [n, 1], got {list(tensor.shape)}")
    if tensor.shape[0] == 0:
        raise EmptyInput(f"input {kind!r} has no rows")
    if tensor.shape[0] > max_inputs:
        raise RowLimitExceeded(
            f"{tensor.shape[0]} inputs in one request; the limit is {max_inputs}",
            {"rows": str(tensor.shape[0]), "max_rows": str(max_inputs)},
        )
    elements: list[bytes] = tensor.array.ravel().tolist()
    return list(elements) if kind == "image" else [_text(index, element) for index, element in enumerate(elements)]


def stack(arrays: Sequence[Array]) -> Array:
    """[(1, a, …), (1, b, …), …] -> (n, max(a, b, …), …), filled up with zeros at the end of each axis."""
    shape = np.max([array.shape[1:] for array in arrays], axis=0, initial=0).astype(int) if arrays[0].ndim > 1 else ()
    stacked = np.zeros((len(arrays), *shape), dtype=arrays[0].dtype)
    for row, array in enumerate(arrays):
        own = tuple(slice(size) for size in array.shape[1:])
        stacked[row : row + 1][(slice(None), *own)] = array
    return stacked


def _text(index: int, element: bytes) -> str:
    try:
        return element.decode()
    except UnicodeDecodeError as error:
        raise UndecodableInput(f"input {index} is not UTF-8", {"input": str(index)}) from error

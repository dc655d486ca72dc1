"""Attend: queries, keys and values in, the values mixed by attention out, with the weights that mixed them."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from attendant.v1 import attend_pb2 as wire
from attendant.v1 import common_pb2

from server.batching.request import Answer
from server.clock import Clock
from server.errors import (
    AttentionTooLarge,
    EmptyInput,
    MalformedTensor,
    RowLimitExceeded,
    ServeError,
    TaskNotSupported,
)
from server.manifest import Axis, Manifest, OutputSpec
from server.registry import Registry
from server.rpc.attendant.attend_input import KEY, QUERY, VALUE, AttendInput, read_input
from server.rpc.attendant.shared import answered_by, call_timing, find_model, row_timing
from server.rpc.call import Call
from server.rpc.rows import for_each, naming_input
from server.servable import Servable
from server.settings import SecuritySettings
from server.tensors import NUMPY_DTYPES, Array, Datatype

TASK = "attention"
DEFAULT_MODEL = "attend"
"""What answers where the call names no model: the scaled dot product."""
CONTEXT, WEIGHTS = "context", "weights"


class Attender:
    """Answers Attend over the registry's models."""

    def __init__(self, registry: Registry, security: SecuritySettings, clock: Clock) -> None:
        self._registry = registry
        self._security = security
        self._clock = clock

    async def attend(self, request: wire.AttendRequest, call: Call) -> wire.AttendResponse:
        """Reads and checks every input, and only then infers: each input as a row of its own.

        Raises ModelNotFound, VersionNotFound, ModelNotReady, TaskNotSupported, EmptyInput, RowLimitExceeded; what
        `read_input` raises, naming the input; AttentionTooLarge; what `Servable.infer` raises; MalformedTensor for an
        input whose products are too large for float32.
        """
        reference = common_pb2.ModelRef()
        reference.CopyFrom(request.model)
        reference.name = reference.name or DEFAULT_MODEL
        servable = find_model(self._registry, reference)
        call.served_by(servable.name, servable.version)
        with servable.held():
            inputs = self._read(servable, request)
            answers = await for_each(inputs, lambda _, item: _infer(servable, item, call))
        return wire.AttendResponse(
            model=answered_by(servable, reference),
            results=[_result(servable.manifest, index, answer) for index, answer in enumerate(answers)],
            timing=call_timing([answer.timing for answer in answers], self._clock.now() - call.started_at),
            request_id=call.request_id,
        )

    def _read(self, servable: Servable, request: wire.AttendRequest) -> list[AttendInput]:
        manifest = servable.manifest
        if not _attends(manifest):
            raise TaskNotSupported(
                f"model {servable.name!r} is for {manifest.task}; Attend takes a mechanism, such as {DEFAULT_MODEL!r}"
            )
        if not request.inputs:
            raise EmptyInput("the request has no inputs")
        limit = self._security.max_inputs
        if len(request.inputs) > limit:
            raise RowLimitExceeded(
                f"{len(request.inputs)} inputs in one call; the limit is {limit}: split the call",
                {"rows": str(len(request.inputs)), "max_rows": str(limit)},
            )
        inputs: list[AttendInput] = []
        for index, item in enumerate(request.inputs):
            try:
                inputs.append(read_input(manifest, item, self._security.max_tensor_bytes))
            except ServeError as error:
                raise naming_input(error, index) from error
        self._check_size(manifest, inputs)
        return inputs

    def _check_size(self, manifest: Manifest, inputs: Sequence[AttendInput]) -> None:
        """Bounds the weights of all inputs together before any is computed."""
        most = self._security.max_attention_bytes
        size = sum(_weight_bytes(manifest, item) for item in inputs)
        if size > most:
            raise AttentionTooLarge(
                f"the weights of this call take {size} bytes; at most {most} are returned: send fewer inputs, queries "
                "or keys",
                {"bytes": str(size), "max_bytes": str(most)},
            )


def _attends(manifest: Manifest) -> bool:
    """Whether the model has the face of a mechanism: batched, float32 and masks, context and weights."""
    weights = manifest.output(WEIGHTS)
    return (
        manifest.task == TASK
        and manifest.batched
        and all(manifest.input(name) is not None for name in (QUERY, KEY, VALUE))
        and all(spec.datatype in (Datatype.FP32, Datatype.BOOL) for spec in manifest.inputs)
        and manifest.output(CONTEXT) is not None
        and weights is not None
        and len(weights.axes) == 4
    )


def _weight_bytes(manifest: Manifest, item: AttendInput) -> int:
    spec = _weights(manifest)
    return NUMPY_DTYPES[spec.datatype].itemsize * math.prod(_extent(axis, item.sizes) for axis in spec.axes)


def _extent(axis: Axis, sizes: Mapping[str, int]) -> int:
    if axis.kind == "row":
        return 1
    return axis.size if axis.kind == "fixed" else sizes.get(axis.name or "", 1)


def _weights(manifest: Manifest) -> OutputSpec:
    return next(spec for spec in manifest.outputs if spec.name == WEIGHTS)


async def _infer(servable: Servable, item: AttendInput, call: Call) -> Answer:
    return await servable.infer(item.tensors, (CONTEXT, WEIGHTS), request_id=call.request_id, deadline=call.deadline)


def _result(manifest: Manifest, index: int, answer: Answer) -> wire.Attended:
    context, weights = answer.outputs[CONTEXT][0], answer.outputs[WEIGHTS][0]
    for array in (context, weights):
        if not np.isfinite(array.astype(np.float32, copy=False)).all():
            raise MalformedTensor(
                f"input {index}: its numbers are so large that their products leave float32; scale them down",
                {"input": str(index)},
            )
    head = _weights(manifest).axes[1]
    without_heads = head.kind == "fixed" and head.size == 1
    return wire.Attended(
        context=_tensor(context),
        weights=_tensor(weights[0] if without_heads else weights),
        timing=row_timing(answer.timing),
    )


def _tensor(array: Array) -> wire.Tensor:
    """The message; numbers go out little-endian, whatever this machine is."""
    return wire.Tensor(shape=array.shape, values=array.astype("<f4", copy=False).tobytes())

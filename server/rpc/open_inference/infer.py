"""ModelInfer: named tensors in, named tensors out; and the responses of a model that writes, one an increment."""

from collections.abc import AsyncGenerator, Mapping, MutableMapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from server.clock import Clock
from server.errors import ParameterInvalid, ServeError, SignatureMismatch, TaskNotSupported
from server.manifest import Manifest, OutputSpec
from server.registry import Registry
from server.rpc.addressing import find, shown
from server.rpc.call import Call
from server.rpc.open_inference.attention_bound import check_attention_bytes
from server.rpc.open_inference.classification import top_classes
from server.rpc.open_inference.codec_input import codec_input, infer_contents
from server.rpc.open_inference.decoding_parameters import DECODING, Asked, read_decoding
from server.rpc.open_inference.generate import Writing, read_writing, write, write_streamed
from server.rpc.open_inference.parameters import (
    RequestParameters,
    has_plain_tensors,
    read_class_count,
    read_output_part,
    read_parameters,
)
from server.rpc.open_inference.regions import RegionPart
from server.rpc.open_inference.shared_memory import SharedMemory
from server.rpc.open_inference.tensors import NOTHING_SHARED, read_inputs, write_raw
from server.rpc.open_inference.written import LOGPROBS, usual_outputs, written_outputs
from server.rpc.rows import lengths_of, rows_of
from server.servable import Servable
from server.settings import Settings
from server.tensors import Array, Datatype, Tensor, bf16_to_float32
from server.wire.grpc_service_pb2 import InferParameter, ModelInferRequest, ModelInferResponse


class OutputChoice(NamedTuple):
    """An output that the caller wants: the tensor itself, or its largest classes."""

    spec: OutputSpec
    class_count: int = 0
    """0: the tensor itself."""
    part: RegionPart | None = None
    """Where in shared memory it goes; None: into the response."""


class _Work(NamedTuple):
    """A request whose model, parameters and outputs were found valid."""

    servable: Servable
    call: Call
    parameters: RequestParameters
    choices: tuple[OutputChoice, ...]
    asked: Asked | None
    """What is asked of the texts of a model that writes; None for every other."""
    plain: bool
    """No tensor has a parameter."""


class Inference:
    """Answers ModelInfer over the registry's models."""

    def __init__(self, registry: Registry, settings: Settings, shared_memory: SharedMemory, clock: Clock) -> None:
        self._registry = registry
        self._security = settings.security
        self._most_tokens = settings.generation.max_tokens
        self._shared_memory = shared_memory
        self._clock = clock

    async def infer(self, request: ModelInferRequest, call: Call) -> ModelInferResponse:
        """Validates, infers, and answers with the outputs in the order asked for.

        Raises ModelNotFound, VersionNotFound, ModelNotReady; NotImplementedHere and ParameterInvalid for parameters;
        SignatureMismatch, MalformedTensor, PayloadTooLarge, AttentionTooLarge; RegionNotFound; what `Servable.infer`
        raises, or `read_writing` and `write` of a model that writes.
        """
        work = self._accept(request, call)
        with work.servable.held():
            inputs = await self._inputs(request, work)
            outputs = await self._run(work, inputs)
        return await self._respond(request, work.servable, work.choices, outputs)

    def writes(self, request: ModelInferRequest) -> bool:
        """Whether the request is for a model that writes; False also where there is no such model."""
        try:
            return find(self._registry, request.model_name, request.model_version).manifest.generation is not None
        except ServeError:
            return False

    async def increments(
        self, request: ModelInferRequest, call: Call
    ) -> AsyncGenerator[tuple[ModelInferResponse, bool], None]:
        """(a response, whether nothing follows) for each increment of a text, and an empty last one where asked for.

        Raises as `infer`, and ParameterInvalid for outputs that go to shared memory: they would lie over each other.
        """
        work = self._accept(request, call)
        if any(choice.part is not None for choice in work.choices):
            raise ParameterInvalid("the increments of a stream cannot go to shared memory", {"parameter": "outputs"})
        with work.servable.held():
            writing = await self._writing(work, await self._inputs(request, work))
            async with aclosing(write_streamed(writing, work.call)) as increments:
                async for outputs, last in increments:
                    choices = tuple(choice for choice in work.choices if choice.spec.name in outputs)
                    response = await self._respond(request, work.servable, choices, outputs)
                    yield response, last and not work.parameters.empty_final
            if work.parameters.empty_final:
                yield await self._respond(request, work.servable, (), {}), True

    def _accept(self, request: ModelInferRequest, call: Call) -> _Work:
        servable = find(self._registry, request.model_name, request.model_version)
        call.served_by(servable.name, servable.version)
        writes = servable.manifest.generation is not None
        parameters = read_parameters(request, DECODING if writes else ())
        if not parameters.priority:  # who goes before others may have less to wait for
            servable.check_deadline(call.deadline)
        plain = has_plain_tensors(request)
        if not plain:
            self._shared_memory.check_allowed(request)
        asked = None
        if writes:
            asked = read_decoding(request, logprobs=any(item.name in LOGPROBS for item in request.outputs))
        choices = choose_outputs(request, servable.manifest, asked)
        if not plain:
            self._shared_memory.check_outputs(choice.part for choice in choices)
        if parameters.timeout_s is not None:
            call = replace(call, deadline=self._deadline(call, parameters.timeout_s))
        return _Work(servable, call, parameters, choices, asked, plain)

    async def _inputs(self, request: ModelInferRequest, work: _Work) -> Mapping[str, Tensor]:
        shared = NOTHING_SHARED
        if not work.plain:
            shared = await self._shared_memory.read_inputs(request, len(work.servable.manifest.inputs))
        return read_inputs(request, self._security.max_tensor_bytes, shared)

    async def _writing(self, work: _Work, inputs: Mapping[str, Tensor]) -> Writing:
        specs = [choice.spec for choice in work.choices]
        if work.asked is None:
            raise TaskNotSupported(f"model {work.servable.name!r} does not write")
        return await read_writing(
            work.servable, inputs, specs, work.asked, work.parameters, self._security, self._most_tokens
        )

    async def _run(self, work: _Work, inputs: Mapping[str, Tensor]) -> Mapping[str, Array]:
        if work.asked is not None:
            return await write(await self._writing(work, inputs), work.call)
        servable, choices, call, parameters = work.servable, work.choices, work.call, work.parameters
        names = [choice.spec.name for choice in choices]
        contents = codec_input(servable, inputs)
        if contents is not None:
            return await infer_contents(servable, contents, names, call, parameters, self._security)
        if "attention" in [choice.spec.role for choice in choices]:
            arrays = {name: tensor.array for name, tensor in inputs.items()}
            rows, lengths = rows_of(servable.manifest, arrays), lengths_of(servable.manifest, arrays)
            check_attention_bytes(
                servable.manifest, names, rows, lambda name: lengths.get(name, 1), self._security.max_attention_bytes
            )
        answer = await servable.infer(
            inputs,
            names,
            request_id=call.request_id,
            deadline=call.deadline,
            priority=parameters.priority,
            precision=parameters.precision,
        )
        return answer.outputs

    async def _respond(
        self,
        request: ModelInferRequest,
        servable: Servable,
        choices: tuple[OutputChoice, ...],
        outputs: Mapping[str, Array],
    ) -> ModelInferResponse:
        """The reply: raw contents only, empty for an output that went to shared memory; the caller's id echoed."""
        response = ModelInferResponse(model_name=servable.name, model_version=str(servable.version), id=request.id)
        for choice in choices:
            name = choice.spec.name
            datatype, array = _output(servable, choice, outputs[name])
            told = response.outputs.add(name=name, datatype=datatype, shape=array.shape)
            content = write_raw(datatype, array)
            if choice.part is not None:
                await self._shared_memory.write_output(choice.part, content)
                _name_part(told.parameters, choice.part, len(content))
                content = b""
            response.raw_output_contents.append(content)
        return response

    def _deadline(self, call: Call, timeout_s: float) -> float:
        """The earlier of gRPC's deadline and the `timeout` parameter, in the clock's seconds."""
        timeout = self._clock.now() + timeout_s
        return timeout if call.deadline is None else min(timeout, call.deadline)


def choose_outputs(
    request: ModelInferRequest, manifest: Manifest, asked: Asked | None = None
) -> tuple[OutputChoice, ...]:
    """The outputs asked for; where none is named, all but the attention maps and what no parameter has `asked` for.

    Raises SignatureMismatch for a name that is unknown or doubled, ParameterInvalid for classes of an output
    that holds no numbers, and what `read_class_count` and `read_output_part` raise.
    """
    if not request.outputs:
        return tuple(OutputChoice(spec) for spec in _usual_outputs(manifest, asked))
    known = {spec.name: spec for spec in (manifest.outputs if asked is None else written_outputs(manifest))}
    choices: dict[str, OutputChoice] = {}
    for item in request.outputs:
        name = item.name
        spec = known.get(name)
        if spec is None:
            raise SignatureMismatch(f"unknown output {shown(name)}; the model gives {', '.join(known)}")
        if name in choices:
            raise SignatureMismatch(f"output {shown(name)} is asked for twice")
        choices[name] = _choice(spec, item) if item.parameters else OutputChoice(spec)
    return tuple(choices.values())


def _usual_outputs(manifest: Manifest, asked: Asked | None) -> Sequence[OutputSpec]:
    if asked is None:
        return [spec for spec in manifest.outputs if spec.role != "attention"]
    decoding = asked.wish.decoding
    return usual_outputs(logprobs=decoding.logprobs, top_logprobs=decoding.top_logprobs)


def _choice(spec: OutputSpec, item: ModelInferRequest.InferRequestedOutputTensor) -> OutputChoice:
    """What an output's parameters ask for. Raises as `choose_outputs` says."""
    class_count = read_class_count(item)
    if class_count and spec.datatype in (Datatype.BYTES, Datatype.BOOL):
        raise ParameterInvalid(f"output {spec.name!r} is {spec.datatype}; classification needs numbers")
    return OutputChoice(spec, class_count, read_output_part(item))


def _name_part(parameters: MutableMapping[str, InferParameter], part: RegionPart, byte_size: int) -> None:
    """Tells where an output lies and how many bytes it has."""
    parameters["shared_memory_region"].string_param = part.region
    parameters["shared_memory_byte_size"].int64_param = byte_size
    if part.offset:
        parameters["shared_memory_offset"].int64_param = part.offset


def _output(servable: Servable, choice: OutputChoice, array: Array) -> tuple[Datatype, Array]:
    spec = choice.spec
    if not choice.class_count:
        return spec.datatype, array
    scores = bf16_to_float32(array.view(np.uint16)) if spec.datatype is Datatype.BF16 else array
    # A Triton configuration names labels but not what an output means; top_classes compares their numbers.
    labels = servable.labels if spec.role in ("data", "logits", "probabilities") else ()
    return Datatype.BYTES, top_classes(scores, choice.class_count, labels, batched=servable.manifest.batched)

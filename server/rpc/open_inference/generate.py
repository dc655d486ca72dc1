"""A model that writes, over tensors: texts or token ids in, texts and tokens out, at once or increment by increment."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from server.batching.admission import Admission
from server.codecs.codec import EncodedRow
from server.errors import EmptyInput, MalformedTensor, ParameterInvalid, ServeError, TaskNotSupported
from server.manifest import Manifest, OutputSpec
from server.rpc.call import Call
from server.rpc.generation import Prompt, Writer, begun, prefix_tokens, results, writer
from server.rpc.open_inference.attention_bound import check_attention_bytes
from server.rpc.open_inference.codec_input import codec_input, read_contents
from server.rpc.open_inference.decoding_parameters import Asked
from server.rpc.open_inference.parameters import RequestParameters
from server.rpc.open_inference.written import AT_END, TOP, Row, written_arrays
from server.rpc.rows import for_each, lengths_of, naming_input
from server.rpc.written_axes import longest_lengths, over_text
from server.servable import Servable
from server.settings import SecuritySettings
from server.tensors import Array, Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Writing:
    """One request, found valid."""

    model: Writer
    prompts: list[Prompt]
    names: tuple[str, ...]
    """The outputs to make."""
    attention: tuple[str, ...]
    """The attention outputs among them."""
    parameters: RequestParameters
    top: int


async def read_writing(
    servable: Servable,
    inputs: Mapping[str, Tensor],
    outputs: Sequence[OutputSpec],
    asked: Asked,
    parameters: RequestParameters,
    security: SecuritySettings,
    most_tokens: int,
) -> Writing:
    """Encodes and checks everything, before any work; `most_tokens` bounds what is written unless the caller says.

    Raises ParameterInvalid; SignatureMismatch, EmptyInput, RowLimitExceeded, MalformedTensor for the inputs; what the
    codec raises, naming the element; UndecodableInput for the prefix; AttentionTooLarge.
    """
    model, spec = writer(servable), servable.manifest.generation
    if model is None or spec is None:
        raise TaskNotSupported(f"model {servable.name!r} does not write")
    names = tuple(output.name for output in outputs)
    decoding = asked.wish.decoding
    asked.wish.check(spec)
    if not decoding.top_logprobs and (needing := set(names) & set(TOP)):
        raise ParameterInvalid(
            f"output {min(needing)!r} needs the parameter top_logprobs", {"parameter": "top_logprobs"}
        )
    prefix = await prefix_tokens(model, asked.prefix, security.max_text_bytes)
    rows = await _rows(servable, inputs, parameters, security)
    prompts = [asked.wish.prompt(servable.manifest, row, prefix, most_tokens) for row in rows]
    attention = tuple(output.name for output in outputs if output.role == "attention")
    _check_attention(servable.manifest, attention, prompts, security.max_attention_bytes)
    return Writing(model, prompts, names, attention, parameters, decoding.top_logprobs)


async def write(writing: Writing, call: Call) -> dict[str, Array]:
    """Every text at its end: the outputs by name. Raises what `Writer.begin` and `Generation.result` raise."""
    with begun(
        writing.model,
        writing.prompts,
        call,
        attention=writing.attention,
        priority=writing.parameters.priority,
        precision=writing.parameters.precision,
    ) as generations:
        answers = await results(generations)
    rows = [
        Row(
            text=each.text,
            ids=each.ids,
            logprobs=each.logprobs,
            top=each.top,
            attention=each.attention,
            score=each.score,
            finish=each.finish,
            seed=prompt.decoding.seed,
        )
        for prompt, answer in zip(writing.prompts, answers, strict=True)
        for each in answer.sequences
    ]
    return written_arrays(rows, writing.names, writing.top)


async def write_streamed(writing: Writing, call: Call) -> AsyncGenerator[tuple[dict[str, Array], bool], None]:
    """(the outputs of an increment by name, whether it is the last) of the one text; closing it lets go of the text.

    Raises ParameterInvalid for several inputs or sequences, and as `write`.
    """
    if len(writing.prompts) > 1:
        raise ParameterInvalid(f"{len(writing.prompts)} inputs; a streamed request takes one: send one request each")
    (prompt,) = writing.prompts
    if prompt.decoding.num_sequences > 1:
        raise ParameterInvalid(
            "a stream gives one text: ask ModelInfer for several sequences", {"parameter": "num_sequences"}
        )
    early = tuple(name for name in writing.names if name not in AT_END)
    with begun(
        writing.model,
        writing.prompts,
        call,
        attention=writing.attention,
        priority=writing.parameters.priority,
        precision=writing.parameters.precision,
        streamed=True,
    ) as (generation,):
        async for increment in generation:
            last = increment.finish is not None
            row = Row(
                text=increment.text,
                ids=increment.ids,
                logprobs=increment.logprobs,
                top=increment.top,
                attention=increment.attention,
                score=(await generation.result()).sequences[0].score if last else 0.0,
                finish=increment.finish,
                seed=prompt.decoding.seed,
            )
            yield written_arrays([row], writing.names if last else early, writing.top), last


async def _rows(
    servable: Servable, inputs: Mapping[str, Tensor], parameters: RequestParameters, security: SecuritySettings
) -> list[EncodedRow]:
    tensor = codec_input(servable, inputs)
    if tensor is None:
        return _tensor_rows(servable.manifest, inputs, security)

    async def encode(index: int, content: str | bytes) -> EncodedRow:
        try:
            return await servable.encode(content, parameters.truncation)
        except ServeError as error:
            raise naming_input(error, index) from error

    return await for_each(read_contents(servable, tensor, security.max_inputs), encode)


def _tensor_rows(manifest: Manifest, inputs: Mapping[str, Tensor], security: SecuritySettings) -> list[EncodedRow]:
    """Rows of tensors, each without its padding, which the mask tells."""
    admitted = Admission(manifest, security.max_inputs, security.max_tensor_bytes).admit(inputs, ())
    return [_tensor_row(manifest, admitted.inputs, row) for row in range(admitted.rows)]


def _tensor_row(manifest: Manifest, inputs: Mapping[str, Array], row: int) -> EncodedRow:
    kept: dict[str, int] = {}
    for spec in manifest.inputs:
        if spec.role == "mask" and len(spec.axes) == 2 and spec.axes[1].kind == "length":
            mask = inputs[spec.name][row].astype(np.bool_)
            kept[spec.axes[1].name] = size = int(mask.sum())
            if not size:
                raise EmptyInput(f"row {row} has no token that its mask shows", {"input": str(row)})
            if not mask[:size].all():
                raise MalformedTensor(
                    f"input {spec.name!r}, row {row}: expected ones, then zeros for the padding at the end",
                    {"input": str(row)},
                )
    own: dict[str, Array] = {}
    for spec in manifest.inputs:
        sizes = [kept.get(axis.name) if axis.kind == "length" else None for axis in spec.axes[1:]]
        own[spec.name] = inputs[spec.name][(slice(row, row + 1), *(slice(size) for size in sizes))]
    if manifest.generation is not None and not manifest.encodes:
        _check_vocabulary(own, manifest.generation.vocab_size, row)
    length = max(lengths_of(manifest, own).values(), default=0)
    return EncodedRow(own, kept_tokens=length, original_tokens=length)


def _check_vocabulary(inputs: Mapping[str, Array], size: int, row: int) -> None:
    """Holds the beginning of a text against the vocabulary that the text is written in."""
    for name, ids in inputs.items():
        if ids.min() < 0 or ids.max() >= size:
            raise MalformedTensor(
                f"input {name!r}, row {row}: a token is outside the vocabulary, 0 to {size - 1}", {"input": str(row)}
            )


def _check_attention(manifest: Manifest, names: Sequence[str], prompts: Sequence[Prompt], max_bytes: int) -> None:
    """Bounds the weights as they are sent: every row as long as the longest."""
    if not names:
        return
    lengths = [longest_lengths(manifest, prompt) for prompt in prompts]
    longest = {name: max(each[name] for each in lengths) for name in lengths[0]}
    rows = sum(prompt.decoding.num_sequences for prompt in prompts)
    check_attention_bytes(over_text(manifest), names, rows, lambda name: longest[name], max_bytes)

"""What export and verification must know of an embedder that nobody trained."""

from typing import ClassVar

from torch import Tensor, nn
from typing_extensions import override

from benchmarks.shapes.network import Embedded, Embedder, EmbedderConfig
from models.tasks.task import Exportable, Signature
from server.manifest import (
    AttentionSpec,
    CodecSpec,
    FixedAxis,
    InputSpec,
    LengthAxis,
    OutputSpec,
    RowAxis,
    TokenAxis,
)
from server.manifest import Task as TaskName
from server.tensors import Datatype

INPUT_IDS, ATTENTION_MASK, EMBEDDING = "input_ids", "attention_mask", "embedding"


class Embedding(Exportable[EmbedderConfig]):
    """Tensors in, one embedding a row out."""

    name: ClassVar[TaskName] = "embedding"

    @property
    @override
    def source(self) -> str:
        return "none: the weights are random numbers"

    @override
    def build(self, config: EmbedderConfig) -> nn.Module:
        return Embedder(config)

    @override
    def signature(self, config: EmbedderConfig, codec: CodecSpec | None) -> Signature:
        row, length = RowAxis(), LengthAxis(max=config.max_len)
        tokens = TokenAxis(length=length.name)
        weights = tuple(f"attention_{layer}" for layer in range(config.num_layers if config.maps else 0))
        heads = FixedAxis(size=config.num_heads)
        return Signature(
            inputs=(
                InputSpec(name=INPUT_IDS, datatype=Datatype.INT64, axes=(row, length)),
                InputSpec(
                    name=ATTENTION_MASK,
                    datatype=Datatype.BOOL,
                    axes=(row, length),
                    pad=False,
                    role="mask",
                    optional=True,
                ),
            ),
            outputs=(
                OutputSpec(
                    name=EMBEDDING,
                    datatype=Datatype.FP32,
                    axes=(row, FixedAxis(size=config.d_model)),
                    role="embedding",
                ),
                *(
                    OutputSpec(name=name, datatype=Datatype.FP32, axes=(row, heads, length, length), role="attention")
                    for name in weights
                ),
            ),
            attention=(
                AttentionSpec(
                    name="encoder", mechanism="multi-head self-attention", outputs=weights, query=tokens, key=tokens
                ),
            )
            if weights
            else (),
        )

    @override
    def flatten(self, output: object) -> tuple[Tensor, ...]:
        if not isinstance(output, Embedded):
            raise TypeError(f"expected an embedding, not {type(output).__name__}")
        return output.embedding, *output.attention

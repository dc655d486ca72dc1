"""A Transformer that reads one sequence and writes another, token by token."""

from dataclasses import dataclass, fields
from typing import Self, cast

import torch
from torch import Tensor, nn
from typing_extensions import override

from models.attention import SinusoidalPositions, causal_mask, padding_mask
from models.networks.block import BlockConfig, last_norm
from models.networks.cached_attention import places
from models.networks.config import check_positive
from models.networks.encoder import Encoder, EncoderConfig
from models.networks.layout import Gathered
from models.networks.stepwise import LENGTH, MAX_NEW, POSITION, SOURCE_LENGTHS, Step, Stepwise
from models.networks.stepwise_block import SourceHeads, StepwiseBlock
from models.networks.stepwise_specs import caches, constant, logits_output, map_outputs, source_inputs, step_maps
from models.networks.vocabulary import check_heads, check_ids, check_room, check_source, special_tokens
from server.manifest import (
    AttentionSpec,
    FixedAxis,
    GenerationSpec,
    InputSpec,
    LengthAxis,
    OutputSpec,
    StateSpec,
)
from server.tensors import Datatype


@dataclass(frozen=True, kw_only=True)
class TranslatorConfig(BlockConfig):
    """Size and shape of a translator; the fields of `BlockConfig`, for encoder and decoder alike, and these.

    vocab_size, max_len: of the source; tokens and the most of them in a row.
    target_vocab_size, max_target_len: of what is written, the start token included.
    start_id, end_id, pad_id: of the target; what begins and ends it, and what is never written.
    tie_output: whether the output layer's weights are the target's embeddings (Press and Wolf 2017).

    Raises ValueError for what `BlockConfig` refuses, further sizes that are not positive, heads whose width is no
    multiple of 8, a special token outside the target's vocabulary, and an end that is the start or padding.
    """

    vocab_size: int
    target_vocab_size: int
    max_len: int = 128
    max_target_len: int = 128
    start_id: int = 1
    end_id: int = 2
    pad_id: int = 0
    tie_output: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(
            vocab_size=self.vocab_size,
            target_vocab_size=self.target_vocab_size,
            max_len=self.max_len,
            max_target_len=self.max_target_len,
        )
        check_heads(self.d_model, self.num_heads)
        check_ids(self.target_vocab_size, start_id=self.start_id, end_id=self.end_id, pad_id=self.pad_id)

    @classmethod
    def tiny(cls) -> Self:
        """The smallest translator with every part in place, for tests: 32 words to 24, sequences up to 40 and 20."""
        return cls(
            d_model=16,
            num_heads=2,
            num_layers=2,
            d_ff=24,
            vocab_size=32,
            target_vocab_size=24,
            max_len=40,
            max_target_len=20,
        )


class Translator(Stepwise):
    """An encoder over the source and a decoder over what is written: Vaswani et al. 2017.

    Padding never changes the answer for a row.
    """

    position_table: Tensor

    def __init__(self, config: TranslatorConfig) -> None:
        super().__init__()
        self.config = config
        self.source_embedding = nn.Embedding(config.vocab_size, config.d_model)
        self.target_embedding = nn.Embedding(config.target_vocab_size, config.d_model)
        # Stored small and scaled up in use: Vaswani et al. 2017, 3.4.
        self.token_scale = config.d_model**0.5
        for embedding in (self.source_embedding, self.target_embedding):
            nn.init.normal_(embedding.weight, std=1.0 / self.token_scale)
        longest = torch.arange(max(config.max_len, config.max_target_len))
        self.register_buffer("position_table", SinusoidalPositions(config.d_model)(longest), persistent=False)
        self.dropout = nn.Dropout(config.dropout)
        block = {field.name: getattr(config, field.name) for field in fields(BlockConfig)}
        self.encoder = Encoder(EncoderConfig(**block))
        self.blocks = nn.ModuleList(StepwiseBlock(config, reads_source=True) for _ in range(config.num_layers))
        self.last_norm = last_norm(config)
        self.output = nn.Linear(config.d_model, config.target_vocab_size, bias=not config.tie_output)
        if config.tie_output:
            self.output.weight = self.target_embedding.weight

    def forward(self, input_ids: Tensor, mask: Tensor, tokens: Tensor) -> Tensor:
        """Scores what follows each token: int64 (B,S), bool (B,S), int64 (B,T) -> logits (B,T,V).

        `mask` is True where a source token is real; the first of `tokens` is the start token.
        Raises ValueError if S or T is over its limit, or the mask has another shape.
        """
        check_room(tokens, self.config.max_target_len)
        hidden = self._embed(self.target_embedding, tokens, self.position_table[: tokens.shape[1]])
        source, over_source = self._encode(input_ids, mask), padding_mask(mask)
        causal = causal_mask(tokens.shape[1], device=tokens.device)
        for block in self._blocks():
            hidden = block(hidden, causal, self._source_heads(block, source), over_source)
        logits: Tensor = self.output(self.last_norm(hidden))
        return logits

    @override
    def start(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Reads the source: int64 (B,S), bool (B,S) -> its length int32 (B), keys (B,H,K,S) and values (B,H,S,K).

        Sources of different lengths are read without the padding between them.
        """
        input_ids, mask = inputs
        check_source(input_ids, mask, self.config.max_len)
        layout = Gathered.from_mask(mask)
        ids = input_ids.flatten().index_select(0, layout.scatter)
        positions = nn.functional.embedding(layout.positions, self.position_table)
        source = self.encoder(self._embed(self.source_embedding, ids, positions), layout).hidden
        heads = [self._source_heads(block, source, layout) for block in self._blocks()]
        return mask.sum(dim=1).to(torch.int32), *(tensor for pair in heads for tensor in pair)

    @override
    def step(self, tokens: Tensor, lengths: Tensor | None, *states: Tensor, maps: bool = True) -> Step:
        if lengths is None:
            raise ValueError("a step of a Transformer needs the lengths that its rows hold")
        where = places(lengths, tokens.shape[1])
        source_lengths, sources, caches = self._sorted(states)
        source_mask = torch.arange(sources[0].value.shape[2], device=tokens.device) < source_lengths[:, None]
        positions = lengths.long()[:, None] + torch.arange(tokens.shape[1], device=tokens.device)
        hidden = self._embed(self.target_embedding, tokens, nn.functional.embedding(positions, self.position_table))
        after: list[Tensor] = []
        weights: list[Tensor] = []
        cross_weights: list[Tensor] = []
        for block, source, (key, value) in zip(self._blocks(), sources, caches, strict=True):
            stepped = block.step(hidden, key, value, where, source, source_mask[:, None, None], maps=maps)
            hidden = stepped.hidden
            after += (stepped.key, stepped.value)
            if stepped.weights is not None and stepped.cross_weights is not None:
                weights.append(stepped.weights)
                cross_weights.append(stepped.cross_weights)
        logits: Tensor = self.output(self.last_norm(hidden[:, -1]))
        return Step(logits, tuple(after), (*cross_weights, *weights))

    @property
    @override
    def inputs(self) -> tuple[InputSpec, ...]:
        return source_inputs(self.config.max_len)

    @property
    @override
    def outputs(self) -> tuple[OutputSpec, ...]:
        over_source, over_written = self.attention
        return (
            logits_output(self.config.target_vocab_size),
            *map_outputs(over_source, self.config.num_heads, self.config.max_len),
            *map_outputs(over_written, self.config.num_heads, self.config.max_target_len),
        )

    @property
    @override
    def states(self) -> tuple[StateSpec, ...]:
        config = self.config
        heads, width = FixedAxis(size=config.num_heads), FixedAxis(size=config.d_model // config.num_heads)
        length = LengthAxis(name=LENGTH, max=config.max_len)
        return (
            constant(SOURCE_LENGTHS, datatype=Datatype.INT32),
            *(
                spec
                for layer in range(config.num_layers)
                for spec in (
                    constant(f"cross_key_{layer}", heads, width, length),
                    constant(f"cross_value_{layer}", heads, length, width),
                )
            ),
            *caches(config.num_layers, config.num_heads, config.d_model, config.max_target_len),
        )

    @property
    @override
    def attention(self) -> tuple[AttentionSpec, ...]:
        layers = self.config.num_layers
        return (
            step_maps("cross", "multi-head cross-attention", layers, LENGTH),
            step_maps("self", "causal multi-head self-attention", layers, POSITION),
        )

    @property
    @override
    def generation(self) -> GenerationSpec:
        config = self.config
        return GenerationSpec(
            vocab_size=config.target_vocab_size,
            max_new=min(MAX_NEW, config.max_target_len),
            start=(config.start_id,),
            end=(config.end_id,),
            suppress=special_tokens(config.start_id, config.end_id, config.pad_id),
            max_length=config.max_target_len,
            max_tokens=max(1, config.max_target_len - 1),
        )

    @property
    @override
    def maps_cost(self) -> bool:
        return True

    def _blocks(self) -> list[StepwiseBlock]:
        return cast("list[StepwiseBlock]", list(self.blocks))

    def _encode(self, input_ids: Tensor, mask: Tensor) -> Tensor:
        check_source(input_ids, mask, self.config.max_len)
        hidden = self._embed(self.source_embedding, input_ids, self.position_table[: input_ids.shape[1]])
        encoded: Tensor = self.encoder(hidden, mask).hidden
        return encoded

    def _embed(self, embedding: nn.Embedding, ids: Tensor, positions: Tensor) -> Tensor:
        embedded: Tensor = self.dropout(embedding(ids) * self.token_scale + positions)
        return embedded

    @staticmethod
    def _source_heads(block: StepwiseBlock, source: Tensor, layout: Gathered | None = None) -> SourceHeads:
        assert block.source_attention is not None  # noqa: S101 - built with one
        return block.source_attention.read(source, layout)

    def _sorted(self, states: tuple[Tensor, ...]) -> tuple[Tensor, list[SourceHeads], list[tuple[Tensor, Tensor]]]:
        """The states in their order: the source's lengths, each layer's keys and values of it, each layer's buffers."""
        lengths, rest = states[0], states[1:]
        pairs = list(zip(rest[::2], rest[1::2], strict=True))
        layers = self.config.num_layers
        return lengths, [SourceHeads(*pair) for pair in pairs[:layers]], pairs[layers:]

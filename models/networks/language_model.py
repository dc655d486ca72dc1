"""A causal Transformer: what comes next, after what was written so far."""

from dataclasses import dataclass
from typing import Self, cast

import torch
from torch import Tensor, nn
from typing_extensions import override

from models.attention import SinusoidalPositions, causal_mask, padding_mask
from models.networks.block import BlockConfig, last_norm
from models.networks.cached_attention import places
from models.networks.config import check_positive
from models.networks.stepwise import MAX_NEW, POSITION, Step, Stepwise
from models.networks.stepwise_block import StepwiseBlock
from models.networks.stepwise_specs import caches, ids_input, logits_output, map_outputs, step_maps
from models.networks.vocabulary import check_heads, check_ids, check_room, special_tokens
from server.manifest import AttentionSpec, GenerationSpec, InputSpec, OutputSpec, StateSpec


@dataclass(frozen=True, kw_only=True)
class LanguageModelConfig(BlockConfig):
    """Size and shape of a language model; the fields of `BlockConfig` and these.

    max_len: most tokens in a row, prompt and continuation together.
    start_id: what stands before every text; None: nothing, so that a prompt must have a token.
    end_id, pad_id: what ends a text, and what is never written.
    tie_output: whether the output layer's weights are the embeddings (Press and Wolf 2017).

    Raises ValueError for what `BlockConfig` refuses, further sizes that are not positive, heads whose width is no
    multiple of 8, a special token outside the vocabulary, and an end that is padding.
    """

    vocab_size: int
    max_len: int = 256
    start_id: int | None = 1
    end_id: int = 2
    pad_id: int = 0
    tie_output: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(vocab_size=self.vocab_size, max_len=self.max_len)
        check_heads(self.d_model, self.num_heads)
        check_ids(self.vocab_size, start_id=self.start_id, end_id=self.end_id, pad_id=self.pad_id)

    @classmethod
    def tiny(cls) -> Self:
        """The smallest language model with several heads and layers, for tests: 32 words, texts up to 40."""
        return cls(d_model=16, num_heads=2, num_layers=2, d_ff=24, vocab_size=32, max_len=40)


class LanguageModel(Stepwise):
    """A decoder without a source: Radford et al. 2018, "Improving Language Understanding by Generative Pre-Training".

    Padding never changes the answer for a row.
    """

    position_table: Tensor

    def __init__(self, config: LanguageModelConfig) -> None:
        super().__init__()
        self.config = config
        self.token_embedding = nn.Embedding(config.vocab_size, config.d_model)
        # Stored small and scaled up in use: Vaswani et al. 2017, 3.4.
        self.token_scale = config.d_model**0.5
        nn.init.normal_(self.token_embedding.weight, std=1.0 / self.token_scale)
        positions = SinusoidalPositions(config.d_model)(torch.arange(config.max_len))
        self.register_buffer("position_table", positions, persistent=False)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(StepwiseBlock(config, reads_source=False) for _ in range(config.num_layers))
        self.last_norm = last_norm(config)
        self.output = nn.Linear(config.d_model, config.vocab_size, bias=not config.tie_output)
        if config.tie_output:
            self.output.weight = self.token_embedding.weight

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Scores what follows each token: int64 (B,T), bool (B,T) -> logits (B,T,V).

        `mask` is True where a token is real. It changes nothing where padding stands behind what is real.
        Raises ValueError if T is over its limit, or the mask has another shape.
        """
        check_room(tokens, self.config.max_len)
        seen = causal_mask(tokens.shape[1], device=tokens.device)
        if mask is not None:
            if mask.shape != tokens.shape:
                raise ValueError(f"mask of shape {tuple(mask.shape)} does not fit tokens of {tuple(tokens.shape)}")
            seen = seen & padding_mask(mask)
        hidden = self._embed(tokens, self.position_table[: tokens.shape[1]])
        for block in self.blocks:
            hidden = block(hidden, seen)
        logits: Tensor = self.output(self.last_norm(hidden))
        return logits

    @override
    def step(self, tokens: Tensor, lengths: Tensor | None, *states: Tensor, maps: bool = True) -> Step:
        if lengths is None:
            raise ValueError("a step of a Transformer needs the lengths that its rows hold")
        where = places(lengths, tokens.shape[1])
        positions = lengths.long()[:, None] + torch.arange(tokens.shape[1], device=tokens.device)
        hidden = self._embed(tokens, nn.functional.embedding(positions, self.position_table))
        after: list[Tensor] = []
        weights: list[Tensor] = []
        blocks = cast("list[StepwiseBlock]", list(self.blocks))
        for block, key, value in zip(blocks, states[::2], states[1::2], strict=True):
            stepped = block.step(hidden, key, value, where, maps=maps)
            hidden = stepped.hidden
            after += (stepped.key, stepped.value)
            if stepped.weights is not None:
                weights.append(stepped.weights)
        logits: Tensor = self.output(self.last_norm(hidden[:, -1]))
        return Step(logits, tuple(after), tuple(weights))

    @property
    @override
    def inputs(self) -> tuple[InputSpec, ...]:
        return (ids_input(self.config.max_len),)

    @property
    @override
    def outputs(self) -> tuple[OutputSpec, ...]:
        (maps,) = self.attention
        return (
            logits_output(self.config.vocab_size),
            *map_outputs(maps, self.config.num_heads, self.config.max_len),
        )

    @property
    @override
    def states(self) -> tuple[StateSpec, ...]:
        return caches(self.config.num_layers, self.config.num_heads, self.config.d_model, self.config.max_len)

    @property
    @override
    def attention(self) -> tuple[AttentionSpec, ...]:
        return (step_maps("self", "causal multi-head self-attention", self.config.num_layers, POSITION),)

    @property
    @override
    def generation(self) -> GenerationSpec:
        config = self.config
        return GenerationSpec(
            vocab_size=config.vocab_size,
            max_new=min(MAX_NEW, config.max_len),
            start=() if config.start_id is None else (config.start_id,),
            end=(config.end_id,),
            suppress=special_tokens(config.start_id, config.end_id, config.pad_id),
            max_length=config.max_len,
            max_tokens=max(1, config.max_len // 2),
        )

    @property
    @override
    def maps_cost(self) -> bool:
        return True

    def _embed(self, ids: Tensor, positions: Tensor) -> Tensor:
        embedded: Tensor = self.dropout(self.token_embedding(ids) * self.token_scale + positions)
        return embedded

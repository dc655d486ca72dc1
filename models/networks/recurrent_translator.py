"""A recurrent network that reads one sequence and writes another, token by token, aligning the two as it goes."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn
from typing_extensions import override

from models.attention import AdditiveAttention, masked_softmax
from models.attention.additive import additive_score
from models.attention.recurrent import Recurrence
from models.attention.recurrent_fusion import ConcatFusion
from models.networks.config import check_positive, check_probability
from models.networks.stepwise import LENGTH, NEW, SOURCE_LENGTHS, Step, Stepwise
from models.networks.stepwise_specs import constant, logits_output, map_outputs, source_inputs
from models.networks.vocabulary import check_ids, check_room, check_source, special_tokens
from server.manifest import (
    AttentionSpec,
    FixedAxis,
    GenerationSpec,
    InputSpec,
    LengthAxis,
    OutputSpec,
    RowAxis,
    StateSpec,
    TokenAxis,
)
from server.tensors import Datatype

SOURCE, SOURCE_KEY, HIDDEN, NEXT_HIDDEN = "source", "source_key", "hidden", "next_hidden"
ALIGNMENT = "alignment"


@dataclass(frozen=True, kw_only=True)
class RecurrentTranslatorConfig:
    """Size and shape of a recurrent translator.

    vocab_size, max_len: of the source; tokens and the most of them in a row.
    target_vocab_size, max_target_len: of what is written, the start token included.
    d_embedding: width of the embedded tokens.
    d_hidden: width of the states, in each direction of the encoder and in the decoder.
    d_attention: width inside the attention's perceptron.
    dropout: on embedded tokens and on what the output layer reads.
    start_id, end_id, pad_id: of the target; what begins and ends it, and what is never written.

    Raises ValueError for sizes that are not positive, a dropout outside [0, 1), a special token outside the target's
    vocabulary, and an end that is padding.
    """

    vocab_size: int
    target_vocab_size: int
    d_embedding: int = 64
    d_hidden: int = 128
    d_attention: int = 128
    dropout: float = 0.1
    max_len: int = 64
    max_target_len: int = 64
    start_id: int = 1
    end_id: int = 2
    pad_id: int = 0

    def __post_init__(self) -> None:
        check_positive(
            vocab_size=self.vocab_size,
            target_vocab_size=self.target_vocab_size,
            d_embedding=self.d_embedding,
            d_hidden=self.d_hidden,
            d_attention=self.d_attention,
            max_len=self.max_len,
            max_target_len=self.max_target_len,
        )
        check_probability(dropout=self.dropout)
        check_ids(self.target_vocab_size, start_id=self.start_id, end_id=self.end_id, pad_id=self.pad_id)

    @classmethod
    def tiny(cls) -> Self:
        """The smallest translator with every part in place, for tests: 32 words to 24, sequences up to 40 and 20."""
        return cls(
            vocab_size=32,
            target_vocab_size=24,
            d_embedding=6,
            d_hidden=8,
            d_attention=5,
            max_len=40,
            max_target_len=20,
        )


class RecurrentTranslator(Stepwise):
    """A bidirectional GRU over the source, a GRU over what is written, and additive attention between them: Bahdanau
    et al. 2015, "Neural Machine Translation by Jointly Learning to Align and Translate".

    As there, each source token is annotated with the states of both directions, and the decoder starts from the
    backward state at the first token. Unlike there, the decoder attends with the state that has read the last token,
    and what it found meets that state after the recurrence: the order of Luong et al. 2015, 3.1. The recurrence then
    does not wait for the attention, and all tokens of a training row are one run of each.

    Padding never changes the answer for a row.
    """

    def __init__(self, config: RecurrentTranslatorConfig) -> None:
        super().__init__()
        self.config = config
        width = 2 * config.d_hidden
        self.source_embedding = nn.Embedding(config.vocab_size, config.d_embedding)
        self.target_embedding = nn.Embedding(config.target_vocab_size, config.d_embedding)
        self.dropout = nn.Dropout(config.dropout)
        self.forwards = Recurrence("gru", config.d_embedding, config.d_hidden)
        self.backwards = Recurrence("gru", config.d_embedding, config.d_hidden)
        self.first_hidden = nn.Linear(config.d_hidden, config.d_hidden)
        self.recurrence = Recurrence("gru", config.d_embedding, config.d_hidden)
        self.alignment = AdditiveAttention(config.d_hidden, width, config.d_attention)
        self.fuse = ConcatFusion(config.d_hidden, width)
        self.output = nn.Linear(config.d_hidden, config.target_vocab_size)

    def forward(self, input_ids: Tensor, mask: Tensor, tokens: Tensor) -> Tensor:
        """Scores what follows each token: int64 (B,S), bool (B,S), int64 (B,T) -> logits (B,T,V).

        `mask` is True where a source token is real; the first of `tokens` is the start token.
        Raises ValueError if S or T is over its limit, or the mask has another shape.
        """
        check_room(tokens, self.config.max_target_len)
        source, hidden = self._encode(input_ids, mask)
        states, _ = self.recurrence(self.dropout(self.target_embedding(tokens)), hidden[:, None])
        logits, _ = self._answer(states, source, self.alignment.project_key(source), mask)
        return logits

    @override
    def start(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Reads the source: int64 (B,S), bool (B,S) -> its length int32 (B), the annotations (B,S,2·d_hidden), the same
        as the attention compares them (B,S,d_attention), and the decoder's first state (B,d_hidden).
        """
        input_ids, mask = inputs
        source, hidden = self._encode(input_ids, mask)
        return mask.sum(dim=1).to(torch.int32), source, self.alignment.project_key(source), hidden

    @override
    def step(self, tokens: Tensor, lengths: Tensor | None, *states: Tensor, maps: bool = True) -> Step:
        source_lengths, source, key, hidden = states
        mask = torch.arange(source.shape[1], device=tokens.device) < source_lengths[:, None]
        after, last = self.recurrence(self.target_embedding(tokens), hidden[:, None])
        logits, weights = self._answer(after, source, key, mask)
        return Step(logits[:, -1], (last[:, 0],), (weights[:, None],) if maps else ())

    @property
    @override
    def inputs(self) -> tuple[InputSpec, ...]:
        return source_inputs(self.config.max_len)

    @property
    @override
    def outputs(self) -> tuple[OutputSpec, ...]:
        (maps,) = self.attention
        return logits_output(self.config.target_vocab_size), *map_outputs(maps, 1, self.config.max_len)

    @property
    @override
    def states(self) -> tuple[StateSpec, ...]:
        config = self.config
        length, hidden = LengthAxis(name=LENGTH, max=config.max_len), FixedAxis(size=config.d_hidden)
        return (
            constant(SOURCE_LENGTHS, datatype=Datatype.INT32),
            constant(SOURCE, length, FixedAxis(size=2 * config.d_hidden)),
            constant(SOURCE_KEY, length, FixedAxis(size=config.d_attention)),
            StateSpec(
                name=HIDDEN,
                output=NEXT_HIDDEN,
                source="first_hidden",
                datatype=Datatype.FP32,
                axes=(RowAxis(), hidden),
                kind="replace",
            ),
        )

    @property
    @override
    def attention(self) -> tuple[AttentionSpec, ...]:
        new, source = TokenAxis(length=NEW), TokenAxis(length=LENGTH)
        return (
            AttentionSpec(
                name=ALIGNMENT, mechanism="additive cross-attention", outputs=(ALIGNMENT,), query=new, key=source
            ),
        )

    @property
    @override
    def generation(self) -> GenerationSpec:
        config = self.config
        return GenerationSpec(
            vocab_size=config.target_vocab_size,
            start=(config.start_id,),
            end=(config.end_id,),
            suppress=special_tokens(config.start_id, config.end_id, config.pad_id),
            max_length=config.max_target_len,
            max_tokens=max(1, config.max_target_len - 1),
        )

    @property
    @override
    def maps_cost(self) -> bool:
        return False

    def _encode(self, input_ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """The annotations (B,S,2·d_hidden), and the decoder's first state (B,d_hidden)."""
        check_source(input_ids, mask, self.config.max_len)
        embedded = self.dropout(self.source_embedding(input_ids))
        turn = _turned(mask)[..., None]
        ahead, _ = self.forwards(embedded)
        back, _ = self.backwards(embedded.gather(1, turn.expand_as(embedded)))
        back = back.gather(1, turn.expand_as(back))
        return torch.cat((ahead, back), dim=-1), torch.tanh(self.first_hidden(back[:, 0]))

    def _answer(self, hidden: Tensor, source: Tensor, key: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Attends and reads out: (B,T,d_hidden), (B,S,…), (B,S,d_attention), (B,S) -> (B,T,V), weights (B,T,S)."""
        scores = additive_score(self.alignment.project_query(hidden), key, self.alignment.combine)
        context, weights = self.alignment.mix(masked_softmax(scores, mask[:, None]), source)
        logits: Tensor = self.output(self.dropout(self.fuse(hidden, context)))
        return logits, weights


def _turned(mask: Tensor) -> Tensor:
    """Where each position of a row read backwards stands, padding staying behind: bool (B,S) -> int64 (B,S)."""
    place = torch.arange(mask.shape[1], device=mask.device)
    length = mask.sum(dim=1, keepdim=True)
    return torch.where(place < length, length - 1 - place, place)

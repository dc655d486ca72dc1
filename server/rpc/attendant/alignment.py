"""Alignments: the attention of written tokens over the source, or over what was written before them.

Queries are the written tokens. Keys are the source's, or everything that stood before each token: start, prompt,
prefix, written tokens.
"""

from collections.abc import Mapping, Sequence

from attendant.v1 import attention_pb2 as wire
from attendant.v1 import generate_pb2

from server.codecs.codec import Token
from server.errors import ParameterInvalid
from server.generation.result import Weights
from server.manifest import CellAxis, Manifest
from server.rpc.attendant.attention import axis_labels, map_message, read_query
from server.rpc.generation import Prompt, Writer
from server.rpc.written_axes import grows, longest_lengths, over_text
from server.runtime.attention_maps import AttentionMap, AttentionQuery, Reduction, attention_maps, check_size
from server.runtime.attention_query import Choice, choose

_UNNAMED = wire.AxisLabels()


class AlignmentChoice:
    """What one call wants to see, checked against the manifest."""

    def __init__(self, manifest: Manifest, query: AttentionQuery) -> None:
        """Raises ParameterInvalid for names, layers, heads or a reduction that do not exist or contradict."""
        if query.reduction is Reduction.ROLLOUT:
            raise ParameterInvalid(
                "a rollout needs all positions of all layers at once; a text that grows has none",
                {"parameter": "attention.reduction"},
            )
        self._manifest = over_text(manifest)
        self._query = query
        self._choices = choose(query, self._manifest)
        self._grows = {choice.spec.name: grows(self._manifest, choice.spec) for choice in self._choices}
        self.outputs = tuple(output.name for choice in self._choices for output in choice.outputs)

    @classmethod
    def read(cls, manifest: Manifest, request: wire.AttentionRequest) -> "AlignmentChoice":
        """From the wire. Raises as the constructor."""
        return cls(manifest, read_query(request))

    def check_size(self, prompts: Sequence[Prompt], max_bytes: int, times: int = 1) -> None:
        """Bounds all maps together, as if every text became as long as it may; each is sent so many `times`.

        Raises AttentionTooLarge.
        """
        lengths = [
            longest_lengths(self._manifest, prompt)
            for prompt in prompts
            for _ in range(times * prompt.decoding.num_sequences)
        ]
        check_size(self._query, self._manifest, lengths, max_bytes)

    def labels(self, model: Writer, prompt: Prompt) -> "AlignmentLabels":
        """What the axes of one input's maps stand for."""
        return AlignmentLabels(self._manifest, self._choices, self._grows, model, prompt)

    def maps(
        self, weights: Mapping[str, Weights] | None, tokens: Sequence[str], labels: "AlignmentLabels | None" = None
    ) -> list[wire.AttentionMap]:
        """The maps of these tokens; `labels` name the keys of a whole text, without them the keys have no names."""
        if weights is None or not tokens:
            return []
        written = [Token(text, 0, 0) for text in tokens]
        return [
            map_message(
                one,
                _fitting(axis_labels(one.query, written), one.weights.shape[-2]),
                labels.key(one, written) if labels else _UNNAMED,
            )
            for one in attention_maps(self._query, self._manifest, weights, 0)
        ]


class AlignmentLabels:
    """The labels of one input's keys; made once, since a codec makes its tokens anew each time."""

    def __init__(
        self,
        manifest: Manifest,
        choices: Sequence[Choice],
        grows: Mapping[str, bool],
        model: Writer,
        prompt: Prompt,
    ) -> None:
        self._choices = choices
        self._grows = grows
        over_cells = all(isinstance(choice.spec.key, CellAxis) for choice in choices)
        read = () if over_cells else prompt.row.tokens
        self._source = read if manifest.encodes else ()
        self._before = self._written_before(manifest, model, prompt, read) if any(grows.values()) else ()

    @staticmethod
    def _written_before(manifest: Manifest, model: Writer, prompt: Prompt, read: Sequence[Token]) -> tuple[Token, ...]:
        start = manifest.generation.start if manifest.generation else ()
        own = [Token(model.token_text(token), 0, 0) for token in (*start, *prompt.prefix)]
        middle = () if manifest.encodes else read
        return (*own[: len(start)], *middle, *own[len(start) :])

    def announced(self) -> list[generate_pb2.AttentionKeys]:
        """The keys that are there before the first new token, by map."""
        return [
            generate_pb2.AttentionKeys(
                name=choice.spec.name,
                labels=axis_labels(choice.spec.key, self._first(choice.spec.name)),
                growing=self._grows[choice.spec.name],
            )
            for choice in self._choices
        ]

    def key(self, one: AttentionMap, written: Sequence[Token]) -> wire.AxisLabels:
        """The keys of one whole map."""
        if isinstance(one.key, CellAxis):
            return axis_labels(one.key, ())
        known = [*self._first(one.name), *(written if self._grows[one.name] else ())]
        if one.key_indices is not None:
            return axis_labels(one.key, known)
        keys = one.weights.shape[-1]  # the last token is no key yet
        return _fitting(axis_labels(one.key, known[:keys] if self._grows[one.name] else known), keys)

    def _first(self, name: str) -> Sequence[Token]:
        return self._before if self._grows[name] else self._source


def _fitting(labels: wire.AxisLabels, size: int) -> wire.AxisLabels:
    """The labels, where there is one for each position."""
    if labels.WhichOneof("labels") == "tokens" and len(labels.tokens.tokens) != size:
        return _UNNAMED
    return labels

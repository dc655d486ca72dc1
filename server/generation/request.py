"""One request on its way through a lane: what it feeds, what it has written, and the reply that it owns."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from server.batching.request import Group, Rows
from server.errors import ServeError
from server.generation.beams import Beams
from server.generation.decoding import Decoding
from server.generation.reader import Reader
from server.generation.result import FinishReason, Generated, TopToken, Weights
from server.generation.text import TextStream


@dataclass(slots=True, eq=False, kw_only=True)
class GenerationRequest:
    """Admitted work, from its arrival to its reply."""

    request_id: str
    encoded: Rows | None
    """The encode graph's inputs, one row; None without such a graph."""
    feed: tuple[int, ...]
    """What the step graph reads before anything is chosen: the start, a prompt, a prefix; never empty."""
    prompt_tokens: int
    """Tokens read for this caller: source or prompt, and prefix."""
    context: tuple[int, ...]
    """Written tokens before the new ones: they count as repeated, and give the text its context."""
    decoding: Decoding
    maps: tuple[str, ...]
    """Attention outputs to collect."""
    enqueued_at: float
    deadline: float | None
    reply: "asyncio.Future[Generated]"
    reader: Reader | None
    """Reads increments as they come; None: nobody does before the end."""
    priority: int = 0
    group: Group = ()
    alone_s: float = 0.0
    """Predicted core-seconds until the first token, were it alone."""

    # --- while it is live ---------------------------------------------------------------------------------------------
    live: list[int] = field(default_factory=list)
    """Its rows; several for beams, in their order."""
    fed: int = 0
    """How much of `feed` the step graph has read."""
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    top: list[tuple[TopToken, ...]] = field(default_factory=list)
    weights: list[dict[str, Weights]] = field(default_factory=list)
    """By step and output: [rows, heads, keys]."""
    heard: int = 0
    """How many of `ids` have become text."""
    told: int = 0
    """How many of `ids` an increment has told of."""
    text: TextStream | None = None
    """Where text must be known while it is written: for a reader, or for stop strings."""
    pieces: str = ""
    """Text that is certain and not told yet."""
    beams: Beams | None = None
    score: float = 0.0
    finish: FinishReason | None = None
    error: ServeError | None = None
    """Why it must leave; its reply has it already."""
    paused_at: float | None = None
    joined_at: float = 0.0
    first_at: float | None = None
    """When its first token was there."""
    last_at: float = 0.0
    begun_s: float = 0.0
    """What the batch had computed when it joined, in seconds."""
    begun_steps: int = 0
    """And in steps."""
    compute_s: float = 0.0
    steps: int = 0
    most_rows: int = 0

    rows: int = field(init=False)
    """Slots that it takes."""
    tokens: int = field(init=False)
    """What reading it costs, in tokens."""

    def __post_init__(self) -> None:
        self.rows = self.decoding.rows
        self.tokens = max([len(self.feed), *self.lengths.values()])

    @property
    def lengths(self) -> Mapping[str, int]:
        """The sizes of the source's length axes."""
        return {} if self.encoded is None else self.encoded.lengths

    @property
    def positions(self) -> int:
        """The most positions of a row: everything fed, and every new token but the last, which is never fed."""
        return len(self.feed) + self.decoding.max_tokens - 1

    @property
    def dead(self) -> bool:
        """Whether nobody waits for it any more."""
        return self.error is not None or self.reply.done()

    @property
    def quiet(self) -> bool:
        """Whether nothing has to be done about it between two steps."""
        return self.reader is None and not self.decoding.stop and not self.maps and self.beams is None

    def fail(self, error: ServeError) -> bool:
        """Answers with an error; False where it was answered already. Its rows leave before the next step."""
        if self.error is not None:
            return False
        self.error = error
        if not self.reply.done():
            self.reply.set_exception(error)
            self.reply.exception()  # whoever waited may have gone, and then nobody else looks at it
        if self.reader is not None:
            self.reader.fail(error)
        return True

    def traced(
        self, *, since: int = 0, until: int | None = None, rows: Sequence[int] | None = None
    ) -> dict[str, Weights]:
        """The collected weights of some steps by output, [1, heads, steps, keys]; keys not yet written have weight 0.

        `rows`: of a hypothesis, the beam in which each of its tokens was computed.
        """
        steps = self.weights[since:until] if rows is None else self.weights[: len(rows)]
        found: dict[str, Weights] = {}
        for name in self.maps:
            parts = [step[name][0 if rows is None else rows[number]] for number, step in enumerate(steps)]
            heads, keys = (parts[0].shape[0], max(part.shape[-1] for part in parts)) if parts else (0, 0)
            joined = np.zeros((1, heads, len(parts), keys), np.float32)
            for number, part in enumerate(parts):
                joined[0, :, number, : part.shape[-1]] = part
            found[name] = joined
        return found

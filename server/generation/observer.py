"""What generation tells of itself, without knowing who listens."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from server.generation.result import FinishReason


class RunKind(StrEnum):
    """What a run of a generative model was for."""

    ENCODE = "encode"
    """Sources were read, and the states of their rows started."""
    PREFILL = "prefill"
    """A prompt or a forced prefix, or a part of one, was read by the step graph; its last run gives the first token."""
    STEP = "step"
    """Every row wrote a token."""


class LeaveReason(StrEnum):
    """Why a generation left; the first three are those of `FinishReason`."""

    END = FinishReason.END.value
    STOP = FinishReason.STOP.value
    LENGTH = FinishReason.LENGTH.value
    CANCELLED = "cancelled"
    """The caller went away or said so."""
    EXPIRED = "expired"
    """Its deadline passed."""
    FAILED = "failed"
    """A run failed, or what was chosen could not be worked on."""
    READER_TOO_SLOW = "reader_too_slow"
    """It was paused for longer than is allowed."""
    DRAINING = "draining"
    """The server stops, or the version is unloaded."""


SAVING = frozenset({LeaveReason.CANCELLED, LeaveReason.EXPIRED, LeaveReason.READER_TOO_SLOW})
"""Of these the steps that were not made are counted as saved: nobody would have read them."""


@dataclass(slots=True)  # not frozen: made for every run, every 150 microseconds where the model is tiny
class StepRecord:
    """One run of a session."""

    model: str
    version: int
    kind: RunKind
    rows: int
    """Rows that ran together."""
    tokens: int
    """Tokens with content that it computed: of the sources (encode), of the prompts (prefill), one a row (step)."""
    compute_s: float
    """The session's run."""
    predicted_s: float = 0.0
    """What the cost model said that it would take."""
    variant: str = ""
    """The precision of the graph that ran, and whether attention weights came with it: `int8`, `fp32+maps`."""
    failed: bool = False


@dataclass(frozen=True, slots=True)
class GenerationState:
    """One version's slots, as they stand now."""

    model: str
    version: int
    slots_used: int = 0
    """Rows that are in the running batch, paused ones included."""
    slots: int = 0
    """Rows that may be: the bound, not what the buffers hold by now."""
    state_bytes: int = 0
    """What the state buffers take."""
    state_capacity_bytes: int = 0
    """What they may take before nothing more joins."""
    waiting: int = 0
    """Generations that wait for a slot."""
    waiting_capacity: int = 0
    """Generations that may wait; one beyond is refused with QUEUE_FULL."""
    paused: int = 0
    """Rows that keep their slot and are not stepped, because their reader is behind."""


class GenerationObserver(Protocol):
    """Told on the event loop's thread; must be quick, `step_ran` above all.

    A generation that is admitted joins once, however many slots it takes, and leaves once; one that goes before it has
    joined only leaves. One that is refused at admission does neither.
    """

    def step_ran(self, record: StepRecord) -> None:
        """A session has run, well or not."""
        ...

    def joined(self, model: str, version: int, queue_s: float) -> None:
        """A generation took its slots, so many seconds after its admission."""
        ...

    def left(self, model: str, version: int, reason: LeaveReason, steps_saved: int = 0) -> None:
        """A generation gave its slots back, or its place among those that wait.

        `steps_saved` are the steps that its `max_tokens` would still have allowed; they are counted for the reasons in
        `SAVING` only, so that whoever calls may always say them.
        """
        ...

    def first_token(self, model: str, version: int, seconds: float) -> None:
        """A generation's first token was there, so many seconds after its admission."""
        ...

    def finished(self, model: str, version: int, prompt_tokens: int, tokens: int, seconds_per_token: float) -> None:
        """A generation ended well: what it read, and what it wrote, the token that ends the text included.

        `seconds_per_token` is the mean time between two of its tokens, the wait for the first one left out; of no
        meaning, and not counted, where it wrote fewer than two.
        """
        ...

    def paused(self, model: str, version: int) -> None:
        """A generation is no longer stepped, because its reader is behind."""
        ...

    def resumed(self, model: str, version: int) -> None:
        """It is stepped again; one that ends while it is paused only leaves."""
        ...

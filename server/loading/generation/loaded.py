"""A generative version read, verified and measured, not yet serving."""

from dataclasses import dataclass

from server.batching.cost import Cost
from server.codecs import Codec
from server.generation.encoding import Run
from server.generation.steps import StepGraphs
from server.generation.text import Detokenizer
from server.manifest import Precision
from server.runtime.session import Session
from server.store.bundle import Bundle


@dataclass(frozen=True, slots=True, eq=False)
class WritingGraphs:
    """The graphs of one precision, opened and measured."""

    precision: Precision
    encode: Run | None
    """None where there is no source to read."""
    step: StepGraphs
    threads: int
    encode_cost: Cost
    read_cost: Cost
    step_cost: Cost
    sessions: tuple[Session, ...]


@dataclass(frozen=True, slots=True, eq=False)
class LoadedGeneration:
    """What a servable that writes is made of."""

    bundle: Bundle
    codec: Codec | None
    detokenizer: Detokenizer
    graphs: tuple[WritingGraphs, ...]
    """One entry a precision, the default first."""
    together: bool
    """Whether rows may share a run."""
    reason_alone: str = ""
    calibrated: bool = False
    """Whether costs were measured; rough figures stand in for them otherwise."""

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """What a request may ask for, the default first."""
        return tuple(one.precision for one in self.graphs)

    @property
    def sessions(self) -> tuple[Session, ...]:
        """All that are open."""
        return tuple(session for one in self.graphs for session in one.sessions)

    def close(self) -> None:
        """Gives the sessions' memory back; runs in flight finish first."""
        for session in self.sessions:
            session.close()

"""Several sessions of one graph as one: a run takes one that is free."""

from collections.abc import Mapping, Sequence
from queue import SimpleQueue

from server.runtime.session import RunStop, Session
from server.tensors import Array


class SessionPool:
    """For graphs whose runs hinder each other inside one session; the memory is that of all."""

    def __init__(self, sessions: Sequence[Session]) -> None:
        self._free: SimpleQueue[Session] = SimpleQueue()
        for session in sessions:
            self._free.put(session)

    def run(
        self, inputs: Mapping[str, Array], outputs: Sequence[str] | None = None, stop: RunStop | None = None
    ) -> dict[str, Array]:
        """As `Session.run`; waits where more runs go on than there are sessions."""
        session = self._free.get()
        try:
            return session.run(inputs, outputs, stop)
        finally:
            self._free.put(session)

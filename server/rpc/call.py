"""One call: what its handler knows of it, what its method's calls have in common, how it is counted when it ends."""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

from server.errors import DeadlineExpired, RequestCancelled, ServeError
from server.rpc.status import UNEXPECTED

OK = "OK"


@dataclass(slots=True)
class Call:
    """What a handler knows of its call beyond the message."""

    request_id: str
    """The caller's id, or a generated one."""
    started_at: float
    """Monotonic seconds."""
    deadline: float | None
    """Monotonic seconds; None: the caller set none."""
    model: str = ""
    version: int = 0

    def served_by(self, name: str, version: int) -> None:
        """Notes which version answers, for the metrics."""
        self.model, self.version = name, version


class Kind(NamedTuple):
    """What a method's calls have in common."""

    service: str
    method: str
    while_draining: bool = False
    """Whether they answer until the very end: neither refused by a drain nor waited for."""


class CallObserver(Protocol):
    """Told when a call ends; of a stream of requests, when each of its requests ends."""

    def request_finished(
        self, service: str, method: str, model: str, version: int, reason: str, request_s: float
    ) -> None:
        """`model` is empty and `version` 0 where none was found; `reason` is OK or an ErrorInfo reason."""
        ...


def ended_by(error: BaseException | None, call: Call, now: float) -> str:
    """The reason under which a call is counted that ended now, with an error or without."""
    if error is None:
        return OK
    if isinstance(error, ServeError):
        return error.reason
    if isinstance(error, Exception):
        return UNEXPECTED
    # The caller has gone, or its deadline has passed: gRPC cancels the handler for both.
    expired = call.deadline is not None and now >= call.deadline
    return DeadlineExpired.reason if expired else RequestCancelled.reason

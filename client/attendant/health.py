"""Health of a server and its models, and the wait until they serve."""

import time
from collections.abc import Callable
from enum import StrEnum

import grpc
from grpc_health.v1 import health_pb2

from attendant.channel import check_timeout
from attendant.errors import AttendantError, DeadlineExceeded, NotFound, Unavailable
from attendant.transport import Call, Method

_CHECK = Method("/grpc.health.v1.Health/Check", health_pb2.HealthCheckResponse)
_PAUSE_S = 0.05


class Health(StrEnum):
    """Whether a server, or one model of it, takes requests."""

    SERVING = "serving"
    NOT_SERVING = "not serving"
    UNKNOWN = "unknown"


_HEALTH = {
    health_pb2.HealthCheckResponse.SERVING: Health.SERVING,
    health_pb2.HealthCheckResponse.NOT_SERVING: Health.NOT_SERVING,
}


def health_call(model: str) -> Call[health_pb2.HealthCheckResponse, Health]:
    """The call that asks for the health of a model, or of the whole server where `model` is empty."""
    return Call(_CHECK, health_pb2.HealthCheckRequest(service=model), _parse)


def _parse(reply: health_pb2.HealthCheckResponse) -> Health:
    return _HEALTH.get(reply.status, Health.UNKNOWN)


class ReadyWait:
    """A wait until a model serves; the clients only ask, tell it what they saw, and sleep."""

    def __init__(self, model: str, timeout_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.call = health_call(model)
        self._what = f"model {model!r}" if model else "the server"
        self._timeout_s = check_timeout(timeout_s)
        self._clock = clock
        self._end = clock() + timeout_s

    @property
    def remaining_s(self) -> float:
        """Seconds left for the next look; a look is always given a little time."""
        return max(self._end - self._clock(), _PAUSE_S)

    def saw(self, outcome: Health | AttendantError) -> float | None:
        """Takes what a look brought; returns the seconds to pause before the next one, None when ready.

        A model that is not known yet may still be loading, and a server that is not there may still be starting.
        Raises DeadlineExceeded when the time is over, and any other error than those two at once.
        """
        if outcome is Health.SERVING:
            return None
        if isinstance(outcome, AttendantError) and not isinstance(outcome, NotFound | Unavailable | DeadlineExceeded):
            raise outcome
        if self._clock() >= self._end:
            raise DeadlineExceeded(
                f"{self._what} did not serve within {self._timeout_s:g} s; last seen: {outcome}",
                code=grpc.StatusCode.DEADLINE_EXCEEDED,
            )
        return _PAUSE_S

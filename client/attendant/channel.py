"""Where the server is and how calls travel there: address, deadline, retries, TLS, message sizes."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import grpc

DEFAULT_ADDRESS = "127.0.0.1:8001"
_MAX_RETRIES = 4  # gRPC makes at most five attempts, whatever the service config asks for
_FIRST_BACKOFF_S, _MAX_BACKOFF_S = 0.1, 2.0

ChannelOption = tuple[str, str | int]


@dataclass(frozen=True, slots=True)
class Connection:
    """How a client reaches its server; the arguments of `Client` and `AsyncClient`, checked.

    Raises ValueError for a timeout that is not positive, retries outside 0 to 4, or a size that is not positive.
    """

    address: str = DEFAULT_ADDRESS
    timeout_s: float = 10.0
    retries: int = 3
    tls: grpc.ChannelCredentials | None = None
    max_message_bytes: int = 64 * 1024**2
    channel_options: Sequence[ChannelOption] = ()

    def __post_init__(self) -> None:
        check_timeout(self.timeout_s)
        if not 0 <= self.retries <= _MAX_RETRIES:
            raise ValueError(f"retries must be 0 to {_MAX_RETRIES}, not {self.retries}")
        if self.max_message_bytes <= 0:
            raise ValueError(f"max_message_bytes must be positive, not {self.max_message_bytes}")

    def options(self) -> list[ChannelOption]:
        """GRPC channel options; the caller's own win."""
        options: dict[str, str | int] = {
            "grpc.service_config": service_config(self.retries),
            "grpc.max_send_message_length": self.max_message_bytes,
            "grpc.max_receive_message_length": self.max_message_bytes,
            # A request that does not fit this buffer is silently never retried; gRPC's default would exclude photos.
            "grpc.per_rpc_retry_buffer_size": self.max_message_bytes,
            # A server that comes back is noticed within about a second; gRPC's default backs off to two minutes.
            "grpc.initial_reconnect_backoff_ms": 100,
            "grpc.max_reconnect_backoff_ms": 1000,
        }
        options.update(self.channel_options)
        return list(options.items())


def service_config(retries: int) -> str:
    """GRPC's retry policy as JSON: UNAVAILABLE only, exponential backoff with gRPC's own jitter.

    RESOURCE_EXHAUSTED is left out on purpose. The policy knows only codes, and the gRPC library answers an oversized
    message with that code before any server code could forbid the retry, so that the largest messages would travel
    again in vain. `Overloaded` reaches the caller at once, with the server's hint.
    """
    if not retries:
        return "{}"
    policy = {
        "maxAttempts": retries + 1,
        "initialBackoff": f"{_FIRST_BACKOFF_S}s",
        "maxBackoff": f"{_MAX_BACKOFF_S}s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE"],
    }
    return json.dumps(
        {"methodConfig": [{"name": [{"service": "attendant.v1.AttendantService"}], "retryPolicy": policy}]}
    )


def check_timeout(timeout_s: float) -> float:
    """Returns the timeout in seconds; raises ValueError unless it is positive and finite."""
    if not 0 < timeout_s < float("inf"):
        raise ValueError(f"timeout_s must be positive and finite, not {timeout_s}")
    return timeout_s

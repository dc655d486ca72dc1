"""The image's health check: exit code 0 while the server says over gRPC that it takes requests.

A process of its own every few seconds, so it imports gRPC's health stubs and nothing else of the project. The port is
the server's environment variable: set the variable, not the flag, where a container listens on another one.
"""

import os
import sys

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

TIMEOUT_S = 3.0
"""Below the timeout of the HEALTHCHECK, so that the reason below is what its log shows."""


def main() -> int:
    """Asks for the health of the whole server; prints what was wrong."""
    target = f"127.0.0.1:{os.environ['ATTENDANT_GRPC__PORT']}"
    with grpc.insecure_channel(target, options=[("grpc.enable_http_proxy", 0)]) as channel:
        try:
            reply = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S)
        except grpc.RpcError as error:
            print(f"{target}: {error.code().name}: {error.details()}")
            return 1
    print(f"{target}: {health_pb2.HealthCheckResponse.ServingStatus.Name(reply.status)}")
    return int(reply.status != health_pb2.HealthCheckResponse.SERVING)


if __name__ == "__main__":
    sys.exit(main())

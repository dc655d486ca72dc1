"""The table of `attendant.v1.AttendantService`."""

import grpc
from attendant.v1.attend_pb2 import AttendRequest
from attendant.v1.classify_pb2 import ClassifyRequest
from attendant.v1.generate_pb2 import GenerateRequest, GenerateStreamRequest

from server.clock import Clock
from server.registry import Registry
from server.rpc.attendant import SERVICE
from server.rpc.attendant.attend import Attender
from server.rpc.attendant.attention import AttentionObserver
from server.rpc.attendant.classify import Classifier
from server.rpc.attendant.generate import Generator
from server.rpc.calls import Calls
from server.settings import Settings


class AttendantService:
    """Each method has a module of its own; here they meet their names."""

    def __init__(self, registry: Registry, settings: Settings, clock: Clock, observer: AttentionObserver) -> None:
        security = settings.security
        self._attender = Attender(registry, security, clock)
        self._classifier = Classifier(registry, security, clock, observer)
        self._generator = Generator(registry, security, settings.generation, clock, observer)

    def handler(self, calls: Calls) -> "grpc.GenericRpcHandler[bytes, bytes]":
        """All methods of the service."""
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "Attend": calls.unary(SERVICE, "Attend", AttendRequest, self._attender.attend),
                "Classify": calls.unary(SERVICE, "Classify", ClassifyRequest, self._classifier.classify),
                "Generate": calls.unary(SERVICE, "Generate", GenerateRequest, self._generator.generate),
                "GenerateStream": calls.server_stream(
                    SERVICE, "GenerateStream", GenerateStreamRequest, self._generator.generate_stream
                ),
            },
        )

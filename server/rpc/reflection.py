"""What gRPC reflection shows: every service of the server in one descriptor pool."""

from attendant.v1 import attendant_service_pb2
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from server.wire import grpc_service_pb2

# error_details belongs to no service, but every error status carries its ErrorInfo: tools decode it through reflection.
_FILES: tuple[FileDescriptor, ...] = (
    grpc_service_pb2.DESCRIPTOR,
    attendant_service_pb2.DESCRIPTOR,
    health_pb2.DESCRIPTOR,
    reflection_pb2.DESCRIPTOR,
    error_details_pb2.DESCRIPTOR,
)


def reflection_pool() -> DescriptorPool:
    """Makes a pool for `grpc_reflection`, whose servicer looks in one pool only, with all files above in it."""
    pool = DescriptorPool()
    for file in _FILES:
        _add(pool, file)
    return pool


def _add(pool: DescriptorPool, file: FileDescriptor) -> None:
    """Adds a file after the files that it imports; adding a file again changes nothing."""
    for dependency in file.dependencies:
        _add(pool, dependency)
    pool.AddSerializedFile(file.serialized_pb)

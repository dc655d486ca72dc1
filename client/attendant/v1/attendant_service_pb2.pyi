from attendant.v1 import attend_pb2 as _attend_pb2
from attendant.v1 import classify_pb2 as _classify_pb2
from attendant.v1 import generate_pb2 as _generate_pb2
from google.protobuf import descriptor as _descriptor
from typing import ClassVar as _ClassVar

DESCRIPTOR: _descriptor.FileDescriptor

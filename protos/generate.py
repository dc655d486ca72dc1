"""Turns the .proto files into Python modules, and into what a proxy needs to know of them.

`python -m protos.generate` writes them; with `--check` it writes nothing, names the files that are not what the
.proto files say, and exits 1 if there are any. Three places receive files:

- `client/attendant/v1/`: what protoc makes of `attendant.v1`, and types for the service stubs, which protoc leaves
  untyped;
- `server/wire/`: the `inference` messages in a descriptor pool of their own. Every client of the Open Inference
  Protocol registers the same names in protobuf's default pool, where a second registration is an error;
- `deploy/envoy/`: the descriptors of `attendant.v1`, by which Envoy turns JSON into messages and back.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet, ServiceDescriptorProto
from google.rpc import error_details_pb2
from grpc_tools import protoc

REPOSITORY = Path(__file__).resolve().parent.parent
PROTOS = REPOSITORY / "protos"
CLIENT_ROOT = Path("client")
WIRE = Path("server/wire")
TRANSCODING = Path("deploy/envoy/attendant.pb")
# The details of an error, which Envoy writes as JSON only where it knows their types; it lies beside its module.
ERROR_DETAILS = Path("google/rpc/error_details.proto")
COMMON_PROTOS = Path(error_details_pb2.__file__).parents[len(ERROR_DETAILS.parts) - 1]
PROTOBUF_PROTOS = Path(protoc.__file__).parent / "_proto"
# Where generated files lie, to find those that nothing generates any more.
GENERATED = ("client/attendant/v1/*.py*", "server/wire/*_pb2.py*", "deploy/envoy/*.pb")


def main() -> int:
    """Runs the command; returns its exit status."""
    parser = argparse.ArgumentParser(description="Generate the Python modules of the wire from protos/.")
    parser.add_argument("--check", action="store_true", help="only name the files that are out of date")
    if not parser.parse_args().check:
        generate(REPOSITORY)
        return 0
    stale = stale_files(REPOSITORY)
    for path in stale:
        sys.stderr.write(f"out of date: {path} (run python -m protos.generate)\n")
    return 1 if stale else 0


def generate(root: Path) -> None:
    """Writes every generated file under `root`, laid out as in the repository."""
    _generate_client(root)
    _generate_wire(root)
    _generate_transcoding(root)


def stale_files(root: Path) -> list[str]:
    """Names the generated files under `root` that differ from the .proto files, are missing, or are left over."""
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder))
        expected, found = _generated_files(Path(folder)), _generated_files(root)
    return sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))


def descriptor_set(package: str, *, include_comments: bool = False) -> FileDescriptorSet:
    """Parses the .proto files of a package, such as `attendant/v1`, without what they import from elsewhere."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "set"
        comments = ["--include_source_info"] if include_comments else []
        _protoc(_sources(package), f"--descriptor_set_out={output}", *comments)
        return FileDescriptorSet.FromString(output.read_bytes())


def _generate_client(root: Path) -> None:
    target = root / CLIENT_ROOT
    folder = target / "attendant" / "v1"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "__init__.py").write_text('"""Generated messages and stubs of the package attendant.v1."""\n')
    _protoc(_sources("attendant/v1"), f"--python_out={target}", f"--pyi_out={target}")
    for file in descriptor_set("attendant/v1").file:
        if file.service:
            _protoc([file.name], f"--grpc_python_out={target}")
            types = target / file.name.replace(".proto", "_pb2_grpc.pyi")
            types.write_text(_stub_types(file))


def _generate_wire(root: Path) -> None:
    target = root / WIRE
    target.mkdir(parents=True, exist_ok=True)
    for file in descriptor_set("inference").file:
        module = target / (Path(file.name).stem + "_pb2.py")
        module.write_text(_wire_module(file))
    with tempfile.TemporaryDirectory() as folder:
        _protoc(_sources("inference"), f"--pyi_out={folder}")
        for types in (Path(folder) / "inference").iterdir():
            text = types.read_text().replace("from inference import", f"from {_dotted(WIRE)} import")
            (target / types.name).write_text(text)


def _generate_transcoding(root: Path) -> None:
    target = root / TRANSCODING
    target.parent.mkdir(parents=True, exist_ok=True)
    sources = [*_sources("attendant/v1"), str(ERROR_DETAILS)]
    imports = [f"--proto_path={folder}" for folder in (COMMON_PROTOS, PROTOBUF_PROTOS)]
    _protoc(sources, *imports, "--include_imports", f"--descriptor_set_out={target}")


def _wire_module(file: FileDescriptorProto) -> str:
    """Source of a module that defines the messages and enums of a file in the private pool."""
    imports = [f"from {_dotted(WIRE)} import {Path(name).stem}_pb2 as _{Path(name).stem}" for name in file.dependency]
    serialized = file.SerializeToString(deterministic=True)
    literals = [f"    {serialized[at : at + 64]!r}" for at in range(0, len(serialized), 64)]
    lines = [
        f'"""Messages of {file.name}, generated by protos/generate.py; do not edit."""',
        "",
        *imports,
        f"from {_dotted(WIRE)}.pool import define",
        "",
        "DESCRIPTOR = define(",
        "    globals(),",
        *literals,
        ")",
    ]
    return "\n".join(lines) + "\n"


def _stub_types(file: FileDescriptorProto) -> str:
    """Types for the `_pb2_grpc` module of a file, whose stub serves blocking and asyncio channels alike."""
    imports = [f"from attendant.v1 import {Path(name).stem}_pb2" for name in file.dependency]
    messages = _message_modules(file)
    lines = [
        f'"""Types of the services in {file.name}, generated by protos/generate.py; do not edit."""',
        "",
        "from collections.abc import AsyncIterator, Awaitable, Iterator",
        "from typing import Any, overload, type_check_only",
        "",
        *imports,
        "import grpc",
        "import grpc.aio",
    ]
    for service in file.service:
        lines += _service_types(service, messages)
    return "\n".join(lines) + "\n"


def _message_modules(file: FileDescriptorProto) -> dict[str, str]:
    """Maps each message that the file or its imports define to how Python code names it."""
    folder = str(Path(file.name).parent)
    return {
        f".{source.package}.{message.name}": f"{Path(source.name).stem}_pb2.{message.name}"
        for source in descriptor_set(folder).file
        for message in source.message_type
    }


def _service_types(service: ServiceDescriptorProto, messages: dict[str, str]) -> list[str]:
    stub, asynchronous = f"{service.name}Stub", f"{service.name}AsyncStub"
    blocking_calls, asynchronous_calls, handlers = [], [], []
    for method in service.method:
        request, response = messages[method.input_type], messages[method.output_type]
        shape = ("Stream" if method.client_streaming else "Unary") + ("Stream" if method.server_streaming else "Unary")
        callable_type = f"{shape}MultiCallable[{request}, {response}]"
        blocking_calls.append(f"    {method.name}: grpc.{callable_type}")
        asynchronous_calls.append(f"    {method.name}: grpc.aio.{callable_type}  # type: ignore[assignment]")
        argument = "request_iterator: Any" if method.client_streaming else f"request: {request}"
        returned = "Iterator[{0}] | AsyncIterator[{0}]" if method.server_streaming else "{0} | Awaitable[{0}]"
        handlers.append(f"    def {method.name}(self, {argument}, context: Any) -> {returned.format(response)}: ...")
    return [
        "",
        f"class {stub}:",
        "    @overload",
        f"    def __new__(cls, channel: grpc.Channel) -> {stub}: ...",
        "    @overload",
        f"    def __new__(cls, channel: grpc.aio.Channel) -> {asynchronous}: ...",
        *blocking_calls,
        "",
        "@type_check_only",
        f"class {asynchronous}({stub}):",
        *asynchronous_calls,
        "",
        f"class {service.name}Servicer:",
        *handlers,
        "",
        f"def add_{service.name}Servicer_to_server(",
        f"    servicer: {service.name}Servicer, server: grpc.Server | grpc.aio.Server",
        ") -> None: ...",
    ]


def _sources(package: str) -> list[str]:
    return sorted(str(path.relative_to(PROTOS)) for path in (PROTOS / package).glob("*.proto"))


def _dotted(path: Path) -> str:
    return ".".join(path.parts)


def _generated_files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for pattern in GENERATED for path in root.glob(pattern)}


def _protoc(sources: list[str], *options: str) -> None:
    """Runs protoc; it prints what is wrong with a source by itself. Raises SystemExit if it fails."""
    if protoc.main(["protoc", f"--proto_path={PROTOS}", *options, *sources]) != 0:
        raise SystemExit("protoc refused the .proto files")


if __name__ == "__main__":
    raise SystemExit(main())

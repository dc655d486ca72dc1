"""What a graph must look like from outside: names, datatypes, and which axes stay open; and the check that it does."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx

from models.export.failure import GraphInvalid
from models.tasks.task import Signature
from server.errors import ArtifactCorrupt
from server.manifest import FixedAxis, InputSpec
from server.packed import PackedLayout, packed_inputs, packed_outputs
from server.runtime.session import Session
from server.tensors import Datatype


@dataclass(frozen=True)
class FaceInput:
    """One input of a graph."""

    name: str
    datatype: Datatype
    varying: Mapping[int, str]
    """The axes that must not have one size only, by position; what each counts."""


@dataclass(frozen=True)
class Face:
    """The inputs of a graph, and the names and datatypes of its outputs, each in the graph's order."""

    inputs: tuple[FaceInput, ...]
    outputs: tuple[tuple[str, Datatype], ...]


def rows_face(signature: Signature) -> Face:
    """Of the graph that takes padded rows."""
    return Face(
        inputs_face(signature.inputs),
        tuple((spec.name, spec.datatype) for spec in signature.outputs),
    )


def inputs_face(inputs: Sequence[InputSpec]) -> tuple[FaceInput, ...]:
    """Of a graph that takes these inputs, each axis as it says."""
    return tuple(FaceInput(spec.name, spec.datatype, _varying(spec)) for spec in inputs)


def packed_face(signature: Signature, layout: PackedLayout) -> Face:
    """Of the graph that takes packed rows in this layout."""
    return Face(
        tuple(
            FaceInput(spec.name, spec.datatype, dict(enumerate(spec.axes)))
            for spec in packed_inputs(signature.inputs, layout)
        ),
        tuple((spec.name, spec.datatype) for spec in packed_outputs(signature.outputs)),
    )


def check_graph(path: Path, face: Face) -> None:
    """Loads a graph as the server will: the exporter may write an invalid one without a word.

    Raises GraphInvalid if the file is not valid ONNX, or ONNX Runtime refuses it, or its inputs and outputs are not the
    signature's, or an axis of an input that is to vary has one size.
    """
    try:
        onnx.checker.check_model(path, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise GraphInvalid(f"{path.name} is not a valid ONNX model: {str(error).splitlines()[0]}") from error
    try:
        session = Session.open(path)
    except ArtifactCorrupt as error:
        raise GraphInvalid(f"ONNX Runtime refuses {path.name}: {error.message}") from error
    try:
        for kind, tensors, expected in (
            ("inputs", session.inputs, [(one.name, one.datatype) for one in face.inputs]),
            ("outputs", session.outputs, list(face.outputs)),
        ):
            found = [(tensor.name, tensor.datatype) for tensor in tensors]
            if found != expected:
                raise GraphInvalid(
                    f"the graph's {kind} are {_listed(found)}, but the signature says {_listed(expected)}"
                )
        _check_varying(face, session)
    finally:
        session.close()


def _varying(spec: InputSpec) -> dict[int, str]:
    return {
        position: axis.kind
        for position, axis in enumerate(spec.axes)
        if not isinstance(axis, FixedAxis) and getattr(axis, "max", None) != 1
    }


def _check_varying(face: Face, session: Session) -> None:
    """The exporter falls back on the sizes of the example, silently, where it cannot keep an axis open."""
    for one, tensor in zip(face.inputs, session.inputs, strict=True):
        for position, counted in one.varying.items():
            size = tensor.shape[position] if position < len(tensor.shape) else None
            if isinstance(size, int):
                raise GraphInvalid(
                    f"axis {position} of the graph's input {one.name} is always {size}, but the signature says that "
                    f"it is a {counted} axis: the exporter cannot keep it open where the network does something "
                    "else at that size than at others"
                )


def _listed(tensors: list[tuple[str, Datatype]]) -> str:
    return ", ".join(f"{name} {datatype}" for name, datatype in tensors)

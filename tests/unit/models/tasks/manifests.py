"""The manifest of a model that writes, as its export would make it from a signature."""

from models.tasks.task import Signature
from server.manifest import CodecSpec, GraphSpec, Manifest, Task


def written_manifest(task: Task, signature: Signature, codec: CodecSpec) -> Manifest:
    """Graphs that fit the signature, though there are none."""
    roles = ["step"] + ["encode"] * any(state.source is not None for state in signature.states)
    return Manifest(
        name="writes",
        task=task,
        graphs=tuple(GraphSpec(file=f"{role}.onnx", role=role, opset=20, maps=True) for role in roles),
        inputs=signature.inputs,
        outputs=signature.outputs,
        states=signature.states,
        generation=signature.generation,
        attention=signature.attention,
        codec=codec,
    )

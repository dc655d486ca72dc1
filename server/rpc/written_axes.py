"""The axes of a step graph's attention outputs, as they are over a whole text: how long they get, what their keys are.

A step's queries are its new tokens; over the text they are all that were written. Keys are the source's where a graph
of its own reads it and the axis bears the name of one of its lengths; else they are what stood before each token.
"""

from server.manifest import AttentionSpec, CellAxis, LengthAxis, Manifest, OutputSpec
from server.rpc.generation import Prompt, beginning
from server.rpc.rows import lengths_of

QUERIES, WRITTEN = "tokens written", "tokens written before"
"""The names of these axes; no graph has one with a space."""


def over_text(manifest: Manifest) -> Manifest:
    """The manifest with attention outputs as they are over a whole text."""
    growing = {name for spec in manifest.attention if grows(manifest, spec) for name in spec.outputs}
    outputs = (
        _over_text(spec, growing=spec.name in growing) if spec.role == "attention" else spec
        for spec in manifest.outputs
    )
    return manifest.model_copy(update={"outputs": tuple(outputs)})


def longest_lengths(manifest: Manifest, prompt: Prompt) -> dict[str, int]:
    """The sizes of the axes of `over_text`, by name, if the text became as long as it may."""
    start = len(manifest.generation.start) if manifest.generation else 0
    most = prompt.decoding.max_tokens
    before = start + beginning(manifest, prompt.row) + len(prompt.prefix)
    return {**lengths_of(manifest, prompt.row.inputs), QUERIES: most, WRITTEN: before + most}


def grows(manifest: Manifest, spec: AttentionSpec) -> bool:
    """Whether the keys of a map are what was written before each token, and not the source."""
    output = manifest.output(spec.outputs[0])
    if isinstance(spec.key, CellAxis) or output is None:
        return False
    axis = output.axes[-1]
    name = axis.name if isinstance(axis, LengthAxis) else spec.key.length
    source = {axis.name for given in manifest.inputs for axis in given.axes if isinstance(axis, LengthAxis)}
    return not (manifest.encodes and name in source)


def _over_text(spec: OutputSpec, *, growing: bool) -> OutputSpec:
    if len(spec.axes) != 4:  # which cannot be returned, and is refused where it is asked for
        return spec
    row, head, _, key = spec.axes
    axes = (row, head, LengthAxis(name=QUERIES), LengthAxis(name=WRITTEN) if growing else key)
    return spec.model_copy(update={"axes": axes})

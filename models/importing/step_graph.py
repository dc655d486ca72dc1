"""The graph that runs once for each token: the decoder with its past, as the server drives it."""

from collections.abc import Sequence

import onnx_ir

from models.importing.failure import ImportRefused
from models.importing.folder import WITH_PAST_FILE
from models.importing.onnx_graph import by_name, constant, keep_outputs, new_node
from server.manifest import StateSpec

TOKENS, LOGITS = "tokens", "logits"
_EXPORTED_TOKENS = "input_ids"
_OF_ALL_POSITIONS = "logits_of_all_positions"


def token_input(graph: onnx_ir.Graph) -> onnx_ir.Value:
    """The input for the new tokens. Raises ImportRefused if there is none."""
    tokens = by_name(graph.inputs).get(_EXPORTED_TOKENS)
    if tokens is None:
        raise ImportRefused(f"{WITH_PAST_FILE} has no input {_EXPORTED_TOKENS}")
    return tokens


def shape_step(model: onnx_ir.Model, states: Sequence[StateSpec]) -> int:
    """Gives the decoder with a past the step graph's face, and returns the size of the vocabulary.

    Tokens get a name that no source has, logits lose the axis of positions, and nothing but they and the states comes
    out, in the states' order.
    Raises ImportRefused if it gives no logits [row, position, vocabulary].
    """
    graph = model.graph
    made = by_name(graph.outputs)
    logits = made.get(LOGITS)
    size = None if logits is None or logits.shape is None or logits.shape.rank() != 3 else logits.shape[2]
    if logits is None or logits.shape is None or not isinstance(size, int):
        raise ImportRefused(f"{WITH_PAST_FILE} gives no {LOGITS} of [row, position, vocabulary]")
    token_input(graph).name = TOKENS
    logits.name = _OF_ALL_POSITIONS
    node = new_node("Gather", [logits, constant(graph, "last_position", -1)], "last_logits", LOGITS, axis=1)
    last = node.outputs[0]
    last.type, last.shape = logits.type, onnx_ir.Shape([logits.shape[0], size])
    graph.append(node)
    keep_outputs(model, [last, *(made[state.output] for state in states if state.output is not None)])
    return size

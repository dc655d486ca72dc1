"""The graph that reads the source once: the encoder, and the keys and values that each step attends to."""

from collections.abc import Sequence

import onnx_ir
from onnx_ir.convenience import get_const_tensor, replace_all_uses_with

from models.importing.failure import ImportRefused
from models.importing.folder import DECODER_FILE, ENCODER_FILE, WITH_PAST_FILE, Export
from models.importing.onnx_graph import by_name, constant, keep_outputs, move_nodes, new_node, read_graph
from models.importing.states import HIDDEN_OUTPUT, HIDDEN_STATE, MASK_STATE

SOURCE_IDS, SOURCE_MASK = "input_ids", "attention_mask"
_FIRST_TOKENS = "input_ids"
_PREFIX = "cross_attention/"
"""Before all names that come from the decoder."""


def encode_graph(export: Export, outputs: Sequence[str]) -> onnx_ir.Model:
    """Puts the encoder and the cross-attention's keys and values together.

    `outputs` are what the steps start from: `present.<n>.encoder.key` and `.value` as the decoder makes them, the mask
    under the name that the decoder has for it, and the encoder's hidden states where a step reads them.
    Raises ImportRefused if the encoder reads anything but ids and mask, or the two do not make what is asked for; what
    `read_graph` raises.
    """
    encoder, decoder = read_graph(export.encoder), read_graph(export.decoder)
    inputs, made = by_name(encoder.graph.inputs), by_name(encoder.graph.outputs)
    if inputs.keys() != {SOURCE_IDS, SOURCE_MASK} or HIDDEN_OUTPUT not in made:
        raise ImportRefused(
            f"{ENCODER_FILE} reads {', '.join(sorted(inputs))} and gives {', '.join(sorted(made))}; only encoders of "
            f"text are imported, which read {SOURCE_IDS} and {SOURCE_MASK} and give {HIDDEN_OUTPUT}"
        )
    if encoder.opset_imports != decoder.opset_imports:
        raise ImportRefused(f"{ENCODER_FILE} and {DECODER_FILE} are of different opsets: export both at once")
    made[MASK_STATE] = _passed_on(encoder.graph, inputs[SOURCE_MASK], MASK_STATE)
    cross = by_name(decoder.graph.outputs)
    missing = [name for name in outputs if name not in made and name not in cross]
    if missing:
        raise ImportRefused(f"{DECODER_FILE} does not make {', '.join(missing)}, which {WITH_PAST_FILE} reads")
    keep_outputs(decoder, [cross[name] for name in outputs if name in cross])
    _tie(encoder.graph, decoder, made[HIDDEN_OUTPUT])
    move_nodes(decoder.graph, encoder.graph, _PREFIX)
    keep_outputs(encoder, [cross.get(name) or made[name] for name in outputs])
    return encoder


def fold_unknown(encode: onnx_ir.Model, vocab_size: int, unknown: int) -> None:
    """Lets every source id from `vocab_size` on stand for `unknown`.

    So a tokenizer may have words that cut the text, as the exporter's own has, without the network knowing them.
    """
    graph = encode.graph
    ids = by_name(graph.inputs)[SOURCE_IDS]
    outside = new_node("GreaterOrEqual", [ids, constant(graph, "vocab_size", vocab_size)], "outside")
    known = new_node("Where", [outside.outputs[0], constant(graph, "unknown", unknown), ids], "known_ids")
    for node, position in ids.uses():
        if node not in (outside, known):
            node.replace_input_with(position, known.outputs[0])
    graph.insert_before(graph[0], [outside, known])


def _passed_on(graph: onnx_ir.Graph, value: onnx_ir.Value, name: str) -> onnx_ir.Value:
    """An input as an output under another name."""
    node = new_node("Identity", [value], f"pass_{name}", name)
    node.outputs[0].shape, node.outputs[0].type = value.shape, value.type
    graph.append(node)
    return node.outputs[0]


def _tie(encoder: onnx_ir.Graph, decoder: onnx_ir.Model, hidden: onnx_ir.Value) -> None:
    """Lets what is left of the decoder read the encoder's values in place of its own inputs."""
    inputs = by_name(decoder.graph.inputs)
    if HIDDEN_STATE not in inputs:
        raise ImportRefused(f"{DECODER_FILE} does not read {HIDDEN_STATE}")
    _count_rows_in(decoder.graph, inputs[HIDDEN_STATE])
    keep_outputs(decoder, list(decoder.graph.outputs))
    for name, value in inputs.items():
        if not value.uses():
            continue
        if name == HIDDEN_STATE:
            replace_all_uses_with(value, hidden)
        elif name == MASK_STATE:
            replace_all_uses_with(value, by_name(encoder.inputs)[SOURCE_MASK])
        elif name == _FIRST_TOKENS:
            replace_all_uses_with(value, _zero_for_each_row(encoder))
        else:
            raise ImportRefused(f"{DECODER_FILE} reads {name}, which is not known how to feed")


def _count_rows_in(graph: onnx_ir.Graph, value: onnx_ir.Value) -> None:
    """Where the number of rows is taken from some activation's shape, takes it from the shape of `value`.

    The exporter writes down `tensor.size(0)` as the library's code has it, and that tensor is what all decoder layers
    below give: they would run for the sake of a number that is known. The first axis of every activation counts rows;
    verification would show if one did not.
    """
    shape = new_node("Shape", [value], "hidden_shape")
    for node in list(graph):
        counted = node.inputs[0] if node.op_type == "Gather" else None
        producer = None if counted is None else counted.producer()
        if producer is None or producer.op_type != "Shape" or producer.attributes or node.inputs[1] is None:
            continue
        index = get_const_tensor(node.inputs[1])
        if index is not None and index.shape.rank() == 0 and int(index.numpy()) == 0:
            node.replace_input_with(0, shape.outputs[0])
    graph.insert_before(graph[0], shape)


def _zero_for_each_row(graph: onnx_ir.Graph) -> onnx_ir.Value:
    """A first token for each row, of which only the shape matters: keys and values of the source know no tokens."""
    ids = by_name(graph.inputs)[SOURCE_IDS]
    first = new_node("Gather", [ids, constant(graph, "first_position", [0])], "first_ids", axis=1)
    zero = new_node("Sub", [first.outputs[0], first.outputs[0]], "zero_ids")
    graph.extend([first, zero])
    return zero.outputs[0]

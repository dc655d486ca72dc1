"""Takes out of a graph what tells where it was made: stack traces, source files, module paths.

The exporter notes on every node and value which line of which file produced it. In a published bundle that is somebody
else's file system, and more bytes than the nodes themselves.
"""

from collections.abc import Iterable, Iterator

import onnx_ir


def strip_origins(model: onnx_ir.Model) -> None:
    """Clears the documentation strings and metadata of a model, of its functions, and of every node and value."""
    model.metadata_props.clear()
    model.doc_string = None
    graphs: list[onnx_ir.Graph | onnx_ir.Function] = [model.graph, *model.functions.values()]
    for graph in graphs:  # grows while it is walked: a branch or a loop's body is a graph of its own
        _clear(graph)
        _clear_all(graph.inputs)
        if isinstance(graph, onnx_ir.Graph):
            _clear_all(graph.initializers.values())
        for node in graph:
            _clear(node)
            _clear_all(node.outputs)
            graphs.extend(_subgraphs(node))


def _subgraphs(node: onnx_ir.Node) -> Iterator[onnx_ir.Graph]:
    for attribute in node.attributes.values():
        if attribute.type is onnx_ir.AttributeType.GRAPH:
            yield attribute.as_graph()
        elif attribute.type is onnx_ir.AttributeType.GRAPHS:
            yield from attribute.as_graphs()


def _clear(item: onnx_ir.Graph | onnx_ir.Function | onnx_ir.Node | onnx_ir.Value) -> None:
    item.metadata_props.clear()
    item.doc_string = None


def _clear_all(values: Iterable[onnx_ir.Value]) -> None:
    for value in values:
        _clear(value)

"""What a graph answers to rows that run together, whatever its layout, each row's answer by itself."""

from collections.abc import Sequence
from dataclasses import replace

from models.export.packing import NO_PADDING, Padding, pack_rows, packed_tokens
from models.export.quantise_compare import Answer, Answerer
from models.export.rows import Row, crop_row, pad_rows, row_lengths
from server.manifest import GraphSpec, Manifest
from server.packed import packed_outputs
from server.runtime.session import Session


def answerer(
    session: Session, graph: GraphSpec, manifest: Manifest, *, maps: bool = True, padding: Padding = NO_PADDING
) -> Answerer:
    """Answers by a graph of this layout, open in `session`.

    `maps`: with the attention weights, where the layout has them. `padding`: what else stands in packed rows.
    """
    inputs = manifest.inputs
    layout = graph.packed
    if layout is not None:
        names = [spec.name for spec in packed_outputs(manifest.outputs)]

        def answer_packed(rows: Sequence[Row]) -> Sequence[Answer]:
            # A packed batch has a token at least: ONNX Runtime divides by their number.
            padded = padding if packed_tokens(rows, inputs) else replace(padding, tokens=max(1, padding.tokens))
            batch = session.run(pack_rows(rows, inputs, layout, padded), names)
            return [{name: batch[name][index : index + 1] for name in names} for index in range(len(rows))]

        return answer_packed
    outputs = [spec for spec in manifest.outputs if maps or spec.role != "attention"]

    def answer_padded(rows: Sequence[Row]) -> Sequence[Answer]:
        batch = session.run(pad_rows(rows, inputs), [spec.name for spec in outputs])
        return [crop_row(batch, index, outputs, row_lengths(row, inputs)) for index, row in enumerate(rows)]

    return answer_padded

"""Folders without a manifest: a Triton model, a Hugging Face export, or nothing but a graph.

Each becomes a bundle whose manifest is made here, from what the folder says of itself, and which is not `verified`.
"""

import os
from pathlib import Path

from pydantic import ValidationError

from server.errors import ArtifactCorrupt
from server.manifest import MANIFEST_FILE, GraphSpec, Manifest
from server.runtime.session import GraphTensor, Session
from server.store.contents import Contents
from server.store.external_data import check_external_data
from server.store.hugging_face import hugging_face_manifest, is_hugging_face
from server.store.labels import check_labels
from server.store.paths import inside, inside_file, read_text_file
from server.store.signature import specs_of
from server.store.triton import CONFIG_FILE, read_config, triton_manifest

GRAPH_FILE = "model.onnx"
_GRAPH_FOLDER = "onnx"
"""Where exports that hold several formats keep their graph."""


def open_unsigned(store: Path, model: str, directory: Path, max_bytes: int) -> Contents:
    """Takes a version folder without a manifest; `directory` is its real path.

    Raises ArtifactCorrupt if it is none of the known layouts, reaches outside the store, is larger than `max_bytes`,
    or contradicts itself.
    """
    try:
        if os.path.lexists(store / model / CONFIG_FILE):  # a link that leads nowhere must not pass for no configuration
            return _triton(store, model, directory, max_bytes)
        return _plain(store, model, directory, max_bytes)
    except ValidationError as error:  # the folder describes something that no manifest can say, such as doubled names
        message = error.errors(include_url=False, include_input=False)[0]["msg"]
        raise ArtifactCorrupt(f"the folder does not make a servable model: {message}") from error


def _triton(store: Path, model: str, directory: Path, max_bytes: int) -> Contents:
    triton = read_config(store, store / model, model)
    _check_size(store, directory, max_bytes)
    opset = check_external_data(store, directory, triton.graph_file, listed=None)
    inputs, outputs = _signature(inside_file(store, directory / triton.graph_file))
    manifest = triton_manifest(model, triton, inputs, outputs, opset)
    labels: tuple[str, ...] = ()
    if triton.label_file:
        labels = _lines(read_text_file(store, store / model / triton.label_file), triton.label_file)
    return Contents(manifest, labels, directory)


def _plain(store: Path, model: str, directory: Path, max_bytes: int) -> Contents:
    graphs = directory if (directory / GRAPH_FILE).exists() else directory / _GRAPH_FOLDER
    if not (graphs / GRAPH_FILE).exists():
        raise ArtifactCorrupt(f"the folder has neither {MANIFEST_FILE} nor {GRAPH_FILE}")
    _check_size(store, directory, max_bytes)
    graph = GraphSpec(file=GRAPH_FILE, opset=check_external_data(store, graphs, GRAPH_FILE, listed=None))
    inputs, outputs = _signature(inside_file(store, graphs / GRAPH_FILE))
    if is_hugging_face(directory):
        manifest, labels = hugging_face_manifest(store, directory, model, graph, inputs, outputs)
    else:
        input_specs, output_specs = specs_of(inputs, outputs)
        manifest = Manifest(name=model, task="tensors", graphs=(graph,), inputs=input_specs, outputs=output_specs)
        labels = ()
    check_labels(manifest, labels)
    return Contents(manifest, labels, graphs)


def _signature(graph: Path) -> tuple[tuple[GraphTensor, ...], tuple[GraphTensor, ...]]:
    """What the graph takes and gives; opened for this question only, since nothing else in the folder tells."""
    session = Session.open(graph)
    session.close()
    return session.inputs, session.outputs


def _check_size(store: Path, directory: Path, max_bytes: int) -> None:
    """No file of the folder leads out of the store, and together they are not too large."""
    total = 0
    for path in directory.rglob("*"):  # does not follow links to folders, so it ends
        if path.is_symlink() or path.is_file():
            real = inside(store, path)
            total += real.stat().st_size
    if total > max_bytes:
        raise ArtifactCorrupt(f"the folder has {total} bytes, more than the {max_bytes} that are allowed")


def _lines(content: bytes, name: str) -> tuple[str, ...]:
    try:
        return tuple(line.strip() for line in content.decode().splitlines())
    except UnicodeDecodeError as error:
        raise ArtifactCorrupt(f"{name} is not UTF-8") from error

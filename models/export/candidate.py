"""The candidate bundle: everything that will be published but for the proof that it is right.

<run>/bundle/
    manifest.json          no parity, no golden rows, no digests: verification adds them
    model.onnx             the graph over padded rows
    block-diagonal.onnx, gathered.onnx      the same over packed rows, where the network has such
    encode.onnx, step.onnx, step-columns.onnx, step-maps.onnx
                           in place of all these, where it writes token by token
    weights.bin            where the weights are large: all graphs'
    tokenizer.json, labels.json, …, checkpoint.safetensors     copied from the checkpoint

It is written beside its place and moved there whole.
"""

import shutil
import tempfile
from pathlib import Path

from models.export.bundle import write_manifest
from models.export.failure import CheckpointUnusable
from models.export.graph import export_graph
from models.export.packed import export_packed
from models.export.provenance import provenance
from models.export.stepwise import export_stepwise
from models.export.trained import Trained
from models.export.weights import shared_weights
from models.networks.stepwise import Stepwise
from server.manifest import CHECKPOINT_FILE, GraphSpec, Manifest


def export_candidate(trained: Trained, bundle: Path, *, packed: bool = True) -> Manifest:
    """Exports a network and writes a candidate to `bundle`, in place of one that was there.

    `packed`: with the graphs over packed rows, where the network has such.
    Raises CheckpointUnusable if the checkpoint lacks a file that it lists, GraphInvalid if the exported graph is not
    valid; a former candidate is then still there, untouched.
    """
    bundle.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{bundle.name}-", dir=bundle.parent))
    try:
        _copy_files(trained, draft)
        manifest = _manifest(trained, _export_graphs(trained, draft, packed))
        write_manifest(draft, manifest)
        draft.chmod(0o755)
        if bundle.exists():
            shutil.rmtree(bundle)
        draft.rename(bundle)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return manifest


def _copy_files(trained: Trained, draft: Path) -> None:
    for name in (*trained.record.files, CHECKPOINT_FILE):
        try:
            shutil.copyfile(trained.directory / name, draft / name)
        except FileNotFoundError as error:
            raise CheckpointUnusable(f"{trained.directory} lists the file {name}, but it is not there") from error


def _export_graphs(trained: Trained, draft: Path, packed: bool) -> tuple[GraphSpec, ...]:
    """All graphs of the bundle; that over padded rows first, or of those that write, that which encodes."""
    network, flatten, signature = trained.network, trained.task.flatten, trained.signature
    weights = shared_weights(network, draft)
    if isinstance(network, Stepwise):
        return tuple(export_stepwise(network, signature, draft, weights=weights))
    graphs = [export_graph(network, flatten, signature, draft, weights=weights)]
    if packed:
        graphs.extend(export_packed(network, flatten, signature, draft, weights=weights))
    return tuple(graphs)


def _manifest(trained: Trained, graphs: tuple[GraphSpec, ...]) -> Manifest:
    record = trained.record
    return Manifest(
        name=record.model,
        task=record.task,
        graphs=graphs,
        inputs=trained.signature.inputs,
        outputs=trained.signature.outputs,
        states=trained.signature.states,
        generation=trained.signature.generation,
        attention=trained.signature.attention,
        codec=trained.codec,
        batching=trained.signature.batching,
        labels=record.labels,
        quality=record.quality,
        provenance=provenance(record),
    )

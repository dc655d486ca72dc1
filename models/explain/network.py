"""The PyTorch side of a published version: the network that its manifest describes, with its checkpoint's weights."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_model
from torch import Tensor, nn

from models.explain.explanation import Missing, Parity
from models.export.parity import Difference
from models.registry import MODELS
from models.tasks.task import Exportable
from server.manifest import CHECKPOINT_FILE, Manifest
from server.store.bundle import Bundle
from server.tensors import Array


@dataclass(frozen=True, slots=True)
class Explained:
    """The answer that gradients and ablation explain: one label of the output `logits`."""

    logits: str
    label: int


@dataclass(frozen=True, eq=False)
class PublishedNetwork:
    """A network in evaluation mode, on the CPU, that answers by the names of the graph's outputs."""

    module: nn.Module
    task: Exportable[object]
    manifest: Manifest

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Tensor]:
        """The network's answer to one row."""
        output = self.module(**{name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in inputs.items()})
        flat = self.task.flatten(output)
        return {spec.name: tensor for spec, tensor in zip(self.manifest.outputs, flat, strict=True)}


def load_network(bundle: Bundle) -> PublishedNetwork | Missing:
    """Builds the network of a version out of what the version itself carries; Missing, with the reason, where it can't.

    A published version has the configuration in its manifest's provenance, the weights in `checkpoint.safetensors`.
    """
    manifest, path = bundle.manifest, bundle.directory / CHECKPOINT_FILE
    if not path.is_file():
        return Missing(f"the version has no {CHECKPOINT_FILE}")
    registered = MODELS.get(manifest.name)
    if registered is None:
        return Missing(f"{manifest.name!r} is not a registered model")
    if manifest.provenance is None:
        return Missing("the manifest does not record the network's configuration")
    task: Exportable[object] = registered.task
    try:
        config: object = type(registered.config)(**manifest.provenance.config)
        module = task.build(config).eval()
        load_model(module, path)
    except (TypeError, ValueError):
        return Missing(f"the recorded configuration is not one of the registered {manifest.name}")
    except (OSError, RuntimeError, SafetensorError):
        return Missing(f"{CHECKPOINT_FILE} does not hold the weights of the network that the manifest describes")
    return PublishedNetwork(module, task, manifest)


def compare(
    network: PublishedNetwork, inputs: Mapping[str, Array], answered: Mapping[str, Array], tolerance: float
) -> Parity:
    """The largest difference between the network's outputs and the graph's, measured as verification measures it."""
    with torch.inference_mode():
        expected = {name: tensor.numpy() for name, tensor in network.run(inputs).items()}
    difference = Difference()
    for name, array in answered.items():
        difference.add(expected[name], array)
    return Parity(difference.largest, tolerance)

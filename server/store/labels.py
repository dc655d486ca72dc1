"""Class names, and whether there are as many as a model has classes."""

from pydantic import TypeAdapter, ValidationError

from server.errors import ArtifactCorrupt
from server.manifest import FixedAxis, Manifest

_LABELS = TypeAdapter(tuple[str, ...])


def read_labels(content: bytes) -> tuple[str, ...]:
    """Class names from the bytes of `labels.json`.

    Raises ArtifactCorrupt if they are no JSON list of strings.
    """
    try:
        return _LABELS.validate_json(content, strict=True)
    except ValidationError as error:
        raise ArtifactCorrupt("the labels are not a JSON list of strings") from error


def check_labels(manifest: Manifest, labels: tuple[str, ...]) -> None:
    """Holds the labels, if any, against the outputs that score classes on their last axis.

    Raises ArtifactCorrupt where their numbers differ.
    """
    for output in manifest.outputs:
        last = output.axes[-1] if output.axes else None
        if (
            labels
            and output.role in ("logits", "probabilities")
            and isinstance(last, FixedAxis)
            and last.size != len(labels)
        ):
            raise ArtifactCorrupt(f"output {output.name} has {last.size} classes, but there are {len(labels)} labels")

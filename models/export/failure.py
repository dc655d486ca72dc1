"""What stops a model on its way to the store, as one exception tree.

ExportError
├── CheckpointUnusable      no checkpoint there, or one that does not fit its model
├── GraphInvalid            the exporter wrote a graph that a runtime would refuse
├── CandidateUnusable       no candidate bundle there, or not the one that was verified
├── ParityFailed            ONNX Runtime answers differently from PyTorch
├── QuantisationRefused     in int8 the model would lose too much, or nothing would change
├── PublishRefused          the bundle has not earned its place
└── StoreUnwritable         the store cannot take it: disk full, no permission

Each message is one line for the person at the keyboard: what is wrong, and what to do about it.
"""

from collections.abc import Sequence

from server.manifest import GraphSpec, ParityReport


class ExportError(Exception):
    """Base of everything that the person who runs the command can understand and act on."""


class CheckpointUnusable(ExportError):
    """The folder holds no checkpoint, or one that does not fit the model that it names."""


class GraphInvalid(ExportError):
    """The exported graph is not a valid ONNX model, or not the one that the signature describes."""


class CandidateUnusable(ExportError):
    """There is no candidate bundle, or its files are not those that were verified."""


class ParityFailed(ExportError):
    """An output of the graph is further from the network's than the tolerance allows; `report` says by how much."""

    def __init__(self, message: str, report: ParityReport) -> None:
        super().__init__(message)
        self.report = report


class QuantisationRefused(ExportError):
    """In int8 a graph would lose more than is allowed, or nobody can tell, or nothing would change.

    `measured` holds the graphs in int8 as far as they were measured.
    """

    def __init__(self, message: str, measured: Sequence[GraphSpec] = ()) -> None:
        super().__init__(message)
        self.measured = tuple(measured)


class PublishRefused(ExportError):
    """Quality or parity is missing or below what is required."""


class StoreUnwritable(ExportError):
    """The operating system would not write the version; nothing was published."""

"""What every call of attendant.v1 shares: model references, truncation, timing."""

from collections.abc import Mapping, Sequence

from attendant.v1 import common_pb2 as wire

from server.batching.request import RunTiming
from server.codecs.codec import EncodedRow, Truncation
from server.errors import ParameterInvalid, VersionNotFound
from server.registry import DEFAULT_ALIAS, Registry
from server.rpc.addressing import checked_alias, checked_name
from server.servable import Servable

TRUNCATIONS: Mapping[int, Truncation] = {
    wire.TRUNCATION_UNSPECIFIED: Truncation.REFUSE,
    wire.TRUNCATION_REFUSE: Truncation.REFUSE,
    wire.TRUNCATION_CUT_END: Truncation.END,
    wire.TRUNCATION_CUT_START: Truncation.START,
}


def find_model(registry: Registry, reference: wire.ModelRef) -> Servable:
    """The version that a reference means. Raises ModelNotFound, VersionNotFound, ModelNotReady."""
    name = checked_name(reference.name)
    selector = reference.WhichOneof("selector")
    if selector is None:
        return registry.resolve(name)
    if selector == "alias":
        return registry.resolve(name, alias=checked_alias(name, reference.alias))
    if reference.version < 1:
        raise VersionNotFound(f"model {name!r} has no version {reference.version}; versions count from 1")
    return registry.resolve(name, version=reference.version)


def answered_by(servable: Servable, reference: wire.ModelRef) -> wire.ModelVersion:
    """The version that answered, and the alias that led to it, the default one included."""
    alias = reference.alias
    if reference.WhichOneof("selector") is None and DEFAULT_ALIAS in servable.aliases:
        alias = DEFAULT_ALIAS
    return wire.ModelVersion(name=servable.name, version=servable.version, alias=alias)


def read_truncation(choice: int) -> Truncation:
    """Raises ParameterInvalid for a number that the enum does not have."""
    if choice not in TRUNCATIONS:
        raise ParameterInvalid(f"truncation has no choice {choice}", {"parameter": "truncation"})
    return TRUNCATIONS[choice]


def truncation_report(row: EncodedRow) -> wire.TruncationReport:
    """How much of a text was read."""
    return wire.TruncationReport(
        truncated=row.truncated, kept_length=row.kept_tokens, original_length=row.original_tokens
    )


def row_timing(timing: RunTiming) -> wire.Timing:
    """How one input fared."""
    return wire.Timing(queue_s=timing.queue_s, compute_s=timing.compute_s, batch_rows=timing.batch_rows)


def call_timing(timings: Sequence[RunTiming], request_s: float) -> wire.Timing:
    """How the whole call fared: the longest of its inputs' times."""
    return wire.Timing(
        queue_s=max(timing.queue_s for timing in timings),
        compute_s=max(timing.compute_s for timing in timings),
        request_s=request_s,
        batch_rows=max(timing.batch_rows for timing in timings),
    )

"""What a request's parameters may say: understood, ignored for a stated reason, or refused; never silently dropped."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from server.codecs.codec import Truncation
from server.errors import NotImplementedHere, ParameterInvalid
from server.rpc.addressing import shown
from server.wire.grpc_service_pb2 import InferParameter, ModelInferRequest

PRIORITY_LEVELS = 9
DEFAULT_PRIORITY_LEVEL = 5
"""As Triton counts: 1 is the most urgent, 0 means the default."""

IGNORED = frozenset({"binary_data", "binary_data_output", "binary_data_size"})
"""How HTTP clients ask for raw bytes; replies here are always raw."""
SEQUENCE = frozenset({"sequence_id", "sequence_start", "sequence_end"})
SHARED_MEMORY_PREFIX = "shared_memory_"
CLASSIFICATION = "classification"


@dataclass(frozen=True, slots=True)
class RequestParameters:
    """The request parameters that mean something here."""

    priority: int = 0
    """As the queue counts: larger goes first, 0 is the default."""
    timeout_s: float | None = None
    truncation: Truncation = Truncation.REFUSE


def read_parameters(request: ModelInferRequest) -> RequestParameters:
    """Reads `priority`, `timeout` (microseconds) and, for texts, `truncation`.

    Raises NotImplementedHere for sequences, ParameterInvalid for anything unknown, mistyped or out of range.
    """
    found: dict[str, object] = {name: _value(parameter) for name, parameter in request.parameters.items()}
    for name in found.keys() & SEQUENCE:
        raise NotImplementedHere(f"parameter {name!r}: sequences are not offered by this server")
    _refuse_unknown(found.keys() - {"priority", "timeout", "truncation"}, "the request")
    return RequestParameters(_priority(found), _timeout_s(found), _truncation(found))


def check_input_parameters(item: ModelInferRequest.InferInputTensor) -> None:
    """Raises NotImplementedHere for shared memory, ParameterInvalid for anything else that is not ignored."""
    _refuse_unknown(item.parameters.keys(), f"input {shown(item.name)}")


def read_class_count(item: ModelInferRequest.InferRequestedOutputTensor) -> int:
    """How many classes an output asks for; 0 where it asks for the tensor itself.

    Raises NotImplementedHere for shared memory, ParameterInvalid for a count below 1 or anything unknown.
    """
    _refuse_unknown(item.parameters.keys() - {CLASSIFICATION}, f"output {shown(item.name)}")
    if CLASSIFICATION not in item.parameters:
        return 0
    return _integer({CLASSIFICATION: _value(item.parameters[CLASSIFICATION])}, CLASSIFICATION, 1, 2**31 - 1)


def _refuse_unknown(names: Iterable[str], where: str) -> None:
    for name in sorted(set(names) - IGNORED):
        if name.startswith(SHARED_MEMORY_PREFIX):
            raise NotImplementedHere(f"{where}: shared memory is not offered by this server; send the bytes")
        raise ParameterInvalid(f"{where} has an unknown parameter {shown(name)}", {"parameter": name[:128]})


def _value(parameter: InferParameter) -> object:
    choice = parameter.WhichOneof("parameter_choice")
    return None if choice is None else getattr(parameter, choice)


def _integer(found: Mapping[str, object], name: str, low: int, high: int) -> int:
    value = found[name]
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ParameterInvalid(f"parameter {name!r} must be an integer from {low} to {high}", {"parameter": name})
    return value


def _priority(found: Mapping[str, object]) -> int:
    if "priority" not in found:
        return 0
    level = _integer(found, "priority", 0, PRIORITY_LEVELS)
    return DEFAULT_PRIORITY_LEVEL - level if level else 0


def _timeout_s(found: Mapping[str, object]) -> float | None:
    """Triton's timeout in microseconds; 0 means none."""
    if "timeout" not in found:
        return None
    microseconds = _integer(found, "timeout", 0, 2**63 - 1)
    return microseconds / 1e6 if microseconds else None


def _truncation(found: Mapping[str, object]) -> Truncation:
    choice = found.get("truncation", Truncation.REFUSE)
    if choice not in tuple(Truncation):
        raise ParameterInvalid(
            f"parameter 'truncation' must be one of {', '.join(Truncation)}", {"parameter": "truncation"}
        )
    return Truncation(str(choice))

"""What a request's parameters may say: understood, ignored for a stated reason, or refused; never silently dropped."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from server.codecs.codec import Truncation
from server.errors import NotImplementedHere, ParameterInvalid
from server.rpc.addressing import shown
from server.rpc.open_inference.regions import RegionPart
from server.wire.grpc_service_pb2 import InferParameter, ModelInferRequest

PRIORITY_LEVELS = 9
DEFAULT_PRIORITY_LEVEL = 5
"""As Triton counts: 1 is the most urgent, 0 means the default."""

IGNORED = frozenset({"binary_data", "binary_data_output", "binary_data_size"})
"""How HTTP clients ask for raw bytes; replies here are always raw."""
SEQUENCE = frozenset({"sequence_id", "sequence_start", "sequence_end"})
SHARED_MEMORY = ("shared_memory_region", "shared_memory_offset", "shared_memory_byte_size")
CLASSIFICATION = "classification"
PRECISION = "precision"
EMPTY_FINAL_RESPONSE = "triton_enable_empty_final_response"
"""Asks for a last, empty response from a model that answers several times; one that answers once sends none."""
READ = frozenset({"priority", "timeout", "truncation", PRECISION, EMPTY_FINAL_RESPONSE})
"""What a request may say."""


@dataclass(frozen=True, slots=True)
class RequestParameters:
    """The request parameters that mean something here."""

    priority: int = 0
    """As the queue counts: larger goes first, 0 is the default."""
    timeout_s: float | None = None
    truncation: Truncation = Truncation.REFUSE
    precision: str | None = None
    """None: what the model answers in by default."""
    empty_final: bool = False
    """The caller wants a last, empty response where there are several."""


NO_PARAMETERS = RequestParameters()


def read_parameters(request: ModelInferRequest, others: Collection[str] = frozenset()) -> RequestParameters:
    """Reads `priority`, `timeout` (microseconds), `precision` and, for texts, `truncation`; checks all but `others`.

    Raises NotImplementedHere for sequences, ParameterInvalid for anything unknown, mistyped or out of range.
    """
    if not request.parameters:
        return NO_PARAMETERS
    found: dict[str, object] = {name: value_of(parameter) for name, parameter in request.parameters.items()}
    for name in found.keys() & SEQUENCE:
        raise NotImplementedHere(f"parameter {name!r}: sequences are not offered by this server")
    _refuse_unknown(found.keys() - READ - set(others), "the request")
    empty_final = found.get(EMPTY_FINAL_RESPONSE, False)
    if not isinstance(empty_final, bool):
        raise ParameterInvalid(f"{EMPTY_FINAL_RESPONSE!r} must be a bool", {"parameter": EMPTY_FINAL_RESPONSE})
    return RequestParameters(_priority(found), _timeout_s(found), _truncation(found), _precision(found), empty_final)


def has_plain_tensors(request: ModelInferRequest) -> bool:
    """Whether no tensor has a parameter: most requests, which need not be asked for shared memory or classes."""
    for item in request.inputs:
        if item.parameters:
            return False
    return all(not item.parameters for item in request.outputs)


def read_input_part(item: ModelInferRequest.InferInputTensor) -> RegionPart | None:
    """Where in shared memory an input lies; None where it came with the request.

    Raises ParameterInvalid for anything incomplete, mistyped or unknown.
    """
    if not item.parameters:
        return None
    where = f"input {shown(item.name)}"
    _refuse_unknown(item.parameters.keys() - set(SHARED_MEMORY), where)
    return _region_part(item.parameters, where)


def read_output_part(item: ModelInferRequest.InferRequestedOutputTensor) -> RegionPart | None:
    """Where in shared memory an output goes; None where it comes with the response.

    Raises ParameterInvalid for anything incomplete or mistyped, and for classes, which come with the response only.
    """
    where = f"output {shown(item.name)}"
    part = _region_part(item.parameters, where)
    if part is not None and CLASSIFICATION in item.parameters:
        raise ParameterInvalid(f"{where}: classes cannot go to shared memory", {"parameter": CLASSIFICATION})
    return part


def read_class_count(item: ModelInferRequest.InferRequestedOutputTensor) -> int:
    """How many classes an output asks for; 0 where it asks for the tensor itself.

    Raises ParameterInvalid for a count below 1 or anything unknown.
    """
    _refuse_unknown(item.parameters.keys() - {CLASSIFICATION, *SHARED_MEMORY}, f"output {shown(item.name)}")
    if CLASSIFICATION not in item.parameters:
        return 0
    return _integer({CLASSIFICATION: value_of(item.parameters[CLASSIFICATION])}, CLASSIFICATION, 1, 2**31 - 1)


def value_of(parameter: InferParameter) -> object:
    """What a parameter holds; None where it holds nothing."""
    choice = parameter.WhichOneof("parameter_choice")
    return None if choice is None else getattr(parameter, choice)


def _region_part(parameters: Mapping[str, InferParameter], where: str) -> RegionPart | None:
    found = {name: value_of(parameters[name]) for name in SHARED_MEMORY if name in parameters}
    if not found:
        return None
    region, offset, byte_size = SHARED_MEMORY
    if not isinstance(found.get(region), str) or byte_size not in found:
        raise ParameterInvalid(f"{where}: shared memory needs both {region} and {byte_size}", {"parameter": region})
    return RegionPart(
        str(found[region]),
        _integer(found, offset, 0, 2**63 - 1) if offset in found else 0,
        _integer(found, byte_size, 0, 2**63 - 1),
    )


def _refuse_unknown(names: Iterable[str], where: str) -> None:
    for name in sorted(set(names) - IGNORED):
        raise ParameterInvalid(f"{where} has an unknown parameter {shown(name)}", {"parameter": name[:128]})


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


def _precision(found: Mapping[str, object]) -> str | None:
    """A name; whether the model serves it is the model's to say."""
    choice = found.get(PRECISION)
    if choice is not None and not isinstance(choice, str):
        raise ParameterInvalid(f"parameter {PRECISION!r} must be a name such as 'bf16'", {"parameter": PRECISION})
    return choice or None

"""How tokens are chosen, from a request's parameters, which have the names of `Decoding`'s fields."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, NamedTuple

from pydantic_core import from_json

from server.errors import ParameterInvalid
from server.generation.decoding import MAX_STOP_CHARACTERS, MAX_STOPS, Decoding
from server.rpc.generation import Wish
from server.rpc.open_inference.parameters import value_of
from server.wire.grpc_service_pb2 import ModelInferRequest

PREFIX = "prefix"
"""A beginning that is forced on every text of the request."""
STOP = "stop"
DECODING = frozenset(field.name for field in fields(Decoding)) | {PREFIX}
"""What a request to a model that writes may say beside what every request may."""

_MOST_STOP_TEXT = MAX_STOPS * 8 * MAX_STOP_CHARACTERS
"""Characters of the longest list of stop strings, each of theirs escaped."""
_INTEGERS = ("max_tokens", "min_tokens", "top_k", "seed", "num_beams", "num_sequences", "top_logprobs")
_NUMBERS = ("temperature", "top_p", "min_p", "repetition_penalty", "length_penalty")


class Asked(NamedTuple):
    """What a request asks of its texts."""

    wish: Wish
    prefix: str


def read_decoding(request: ModelInferRequest, *, logprobs: bool = False) -> Asked:
    """Reads them; `logprobs`: an output that needs them is asked for.

    Raises ParameterInvalid for a value of another type; ranges and contradictions are for `Decoding.check`, but for a
    `max_tokens` of 0.
    """
    found = {name: value_of(parameter) for name, parameter in request.parameters.items() if name in DECODING}
    chosen: dict[str, Any] = {name: _integer(found, name) for name in _INTEGERS if name in found}
    chosen |= {name: _number(found, name) for name in _NUMBERS if name in found}
    if chosen.setdefault("max_tokens", 0) < 1 and "max_tokens" in found:
        raise ParameterInvalid("max_tokens is 0 or less; expected at least 1", {"parameter": "max_tokens"})
    if STOP in found:
        chosen[STOP] = _stops(_text(found, STOP))
    wanted = found.get("logprobs", False)
    if not isinstance(wanted, bool):
        raise ParameterInvalid("parameter 'logprobs' must be a bool", {"parameter": "logprobs"})
    decoding = Decoding(**chosen, logprobs=wanted or logprobs)
    return Asked(Wish(decoding, seeded="seed" in found), _text(found, PREFIX) if PREFIX in found else "")


def _integer(found: Mapping[str, object], name: str) -> int:
    value = found[name]
    if isinstance(value, bool) or not isinstance(value, int):
        raise ParameterInvalid(f"parameter {name!r} must be an integer", {"parameter": name})
    return value


def _number(found: Mapping[str, object], name: str) -> float:
    value = found[name]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ParameterInvalid(f"parameter {name!r} must be a number", {"parameter": name})
    return float(value)


def _text(found: Mapping[str, object], name: str) -> str:
    value = found[name]
    if not isinstance(value, str):
        raise ParameterInvalid(f"parameter {name!r} must be a string", {"parameter": name})
    return value


def _stops(text: str) -> tuple[str, ...]:
    """One stop string, or a JSON list of them: parameters have no lists."""
    if text.startswith("[") and len(text) <= _MOST_STOP_TEXT:
        try:
            several = from_json(text)
        except ValueError:
            return (text,)
        if isinstance(several, list) and all(isinstance(each, str) for each in several):
            return tuple(several)
    return (text,)

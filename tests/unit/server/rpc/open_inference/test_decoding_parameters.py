from dataclasses import fields

import pytest

from server.errors import ParameterInvalid
from server.generation.decoding import Decoding
from server.rpc.open_inference.decoding_parameters import DECODING, PREFIX, read_decoding
from server.wire.grpc_service_pb2 import InferParameter, ModelInferRequest

KINDS = {bool: "bool_param", int: "int64_param", float: "double_param", str: "string_param"}


def request_with(**parameters: object) -> ModelInferRequest:
    return ModelInferRequest(
        parameters={name: InferParameter(**{KINDS[type(value)]: value}) for name, value in parameters.items()}
    )


def test_a_request_without_parameters_asks_for_the_defaults():
    wish, prefix = read_decoding(request_with())
    assert (wish.decoding, wish.seeded, prefix) == (Decoding(max_tokens=0), False, "")


def test_parameters_have_the_names_of_the_fields():
    assert {field.name for field in fields(Decoding)} | {PREFIX} == DECODING
    chosen = {
        "max_tokens": 9,
        "min_tokens": 2,
        "stop": "end",
        "temperature": 0.5,
        "top_k": 3,
        "top_p": 0.9,
        "min_p": 0.1,
        "repetition_penalty": 1.5,
        "seed": 4,
        "num_beams": 2,
        "length_penalty": 0.0,
        "num_sequences": 2,
        "logprobs": True,
        "top_logprobs": 1,
    }
    assert chosen.keys() == DECODING - {PREFIX}
    wish, prefix = read_decoding(request_with(**chosen, prefix="so"))
    assert wish.decoding == Decoding(**{**chosen, "stop": ("end",)})
    assert (wish.seeded, prefix) == (True, "so")


def test_whole_numbers_are_numbers_and_unsigned_ones_too():
    wish, _ = read_decoding(
        ModelInferRequest(
            parameters={"temperature": InferParameter(int64_param=1), "seed": InferParameter(uint64_param=5)}
        )
    )
    assert (wish.decoding.temperature, wish.decoding.seed) == (1.0, 5)


@pytest.mark.parametrize(
    ("text", "stops"),
    [
        ("a", ("a",)),
        ('["a", "b"]', ("a", "b")),
        ("[a", ("[a",)),
        ("[1]", ("[1]",)),
        ("[]", ()),
        ('{"a": 1}', ('{"a": 1}',)),
    ],
)
def test_stop_is_one_string_or_a_json_list(text, stops):
    assert read_decoding(request_with(stop=text))[0].decoding.stop == stops


def test_an_output_of_log_probabilities_asks_for_them():
    assert read_decoding(request_with(), logprobs=True)[0].decoding.logprobs


@pytest.mark.parametrize(
    "parameters",
    [
        {"max_tokens": 0},
        {"max_tokens": -3},
        {"max_tokens": True},
        {"max_tokens": "many"},
        {"seed": 1.0},
        {"temperature": "hot"},
        {"temperature": False},
        {"stop": 3},
        {"prefix": 3},
        {"logprobs": 1},
    ],
)
def test_other_types_are_refused_by_name(parameters):
    with pytest.raises(ParameterInvalid) as caught:
        read_decoding(request_with(**parameters))
    assert caught.value.metadata == {"parameter": next(iter(parameters))}


def test_a_parameter_without_a_value_is_refused():
    with pytest.raises(ParameterInvalid):
        read_decoding(ModelInferRequest(parameters={"top_k": InferParameter()}))

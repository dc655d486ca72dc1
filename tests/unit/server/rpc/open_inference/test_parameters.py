import pytest

from server.codecs.codec import Truncation
from server.errors import NotImplementedHere, ParameterInvalid
from server.rpc.open_inference.parameters import (
    RequestParameters,
    check_input_parameters,
    read_class_count,
    read_parameters,
)
from server.wire.grpc_service_pb2 import InferParameter, ModelInferRequest


def request_with(**parameters: InferParameter) -> ModelInferRequest:
    return ModelInferRequest(parameters=parameters)


def integer(value: int) -> InferParameter:
    return InferParameter(int64_param=value)


def test_no_parameters_are_the_defaults():
    assert read_parameters(request_with()) == RequestParameters(0, None, Truncation.REFUSE)


@pytest.mark.parametrize(("level", "priority"), [(0, 0), (1, 4), (5, 0), (9, -4)])
def test_a_lower_priority_level_is_more_urgent(level, priority):
    assert read_parameters(request_with(priority=InferParameter(uint64_param=level))).priority == priority


def test_timeout_counts_microseconds():
    assert read_parameters(request_with(timeout=integer(1500))).timeout_s == 0.0015


def test_no_timeout_is_zero():
    assert read_parameters(request_with(timeout=integer(0))).timeout_s is None


@pytest.mark.parametrize("choice", list(Truncation))
def test_truncation_is_the_callers_choice(choice):
    assert read_parameters(request_with(truncation=InferParameter(string_param=choice))).truncation is choice


@pytest.mark.parametrize(
    "parameters",
    [
        {"priority": integer(10)},
        {"priority": integer(-1)},
        {"priority": InferParameter(string_param="1")},
        {"priority": InferParameter(bool_param=True)},
        {"priority": InferParameter()},
        {"timeout": integer(-5)},
        {"timeout": InferParameter(double_param=1.5)},
        {"truncation": InferParameter(string_param="middle")},
        {"truncation": integer(1)},
        {"temperature": InferParameter(double_param=0.5)},
        {"": integer(1)},
    ],
)
def test_a_parameter_that_is_unknown_or_out_of_range_is_refused(parameters):
    with pytest.raises(ParameterInvalid):
        read_parameters(request_with(**parameters))


@pytest.mark.parametrize("name", ["sequence_id", "sequence_start", "sequence_end"])
def test_sequences_are_not_offered(name):
    with pytest.raises(NotImplementedHere):
        read_parameters(request_with(**{name: integer(1)}))


def test_what_asks_for_raw_replies_is_ignored():
    assert read_parameters(request_with(binary_data_output=InferParameter(bool_param=True))) == RequestParameters()


def output(**parameters: InferParameter) -> ModelInferRequest.InferRequestedOutputTensor:
    return ModelInferRequest.InferRequestedOutputTensor(name="y", parameters=parameters)


def test_class_count_is_read():
    assert read_class_count(output(classification=integer(3))) == 3
    assert read_class_count(output()) == 0


@pytest.mark.parametrize("value", [integer(0), integer(-1), InferParameter(string_param="2"), InferParameter()])
def test_a_class_count_below_one_is_refused(value):
    with pytest.raises(ParameterInvalid):
        read_class_count(output(classification=value))


def test_shared_memory_is_not_offered():
    region = InferParameter(string_param="region")
    with pytest.raises(NotImplementedHere, match="shared memory"):
        read_class_count(output(shared_memory_region=region))
    with pytest.raises(NotImplementedHere, match="shared memory"):
        check_input_parameters(ModelInferRequest.InferInputTensor(parameters={"shared_memory_region": region}))


def test_an_unknown_parameter_of_an_input_or_output_is_refused():
    with pytest.raises(ParameterInvalid, match="unknown parameter 'colour'"):
        read_class_count(output(colour=integer(1)))
    with pytest.raises(ParameterInvalid, match="unknown parameter 'colour'"):
        check_input_parameters(ModelInferRequest.InferInputTensor(parameters={"colour": integer(1)}))

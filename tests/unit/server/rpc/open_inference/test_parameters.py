import pytest

from server.codecs.codec import Truncation
from server.errors import NotImplementedHere, ParameterInvalid
from server.rpc.open_inference.parameters import (
    RequestParameters,
    read_class_count,
    read_input_part,
    read_output_part,
    read_parameters,
)
from server.rpc.open_inference.regions import RegionPart
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


def test_precision_is_a_name():
    assert read_parameters(request_with(precision=InferParameter(string_param="bf16"))).precision == "bf16"
    assert read_parameters(request_with(precision=InferParameter(string_param=""))).precision is None


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
        {"precision": integer(16)},
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


REGION, SIZE, OFFSET = "shared_memory_region", "shared_memory_byte_size", "shared_memory_offset"
IN_REGION = {REGION: InferParameter(string_param="r"), SIZE: integer(8)}


def input_item(**parameters: InferParameter) -> ModelInferRequest.InferInputTensor:
    return ModelInferRequest.InferInputTensor(name="x", parameters=parameters)


@pytest.mark.parametrize(("read", "item"), [(read_input_part, input_item), (read_output_part, output)])
def test_a_part_of_a_region_is_read(read, item):
    assert read(item(**IN_REGION)) == RegionPart("r", 0, 8)
    assert read(item(**IN_REGION, **{OFFSET: integer(16)})) == RegionPart("r", 16, 8)
    assert read(item()) is None


@pytest.mark.parametrize(
    "parameters",
    [
        {REGION: InferParameter(string_param="r")},
        {SIZE: integer(8)},
        {OFFSET: integer(8)},
        {REGION: integer(1), SIZE: integer(8)},
        IN_REGION | {SIZE: integer(-1)},
        IN_REGION | {SIZE: InferParameter(uint64_param=2**63)},
        IN_REGION | {SIZE: InferParameter(string_param="8")},
        IN_REGION | {OFFSET: integer(-1)},
    ],
)
def test_a_part_that_is_incomplete_or_mistyped_is_refused(parameters):
    with pytest.raises(ParameterInvalid, match="shared_memory_"):
        read_input_part(input_item(**parameters))
    with pytest.raises(ParameterInvalid, match="shared_memory_"):
        read_output_part(output(**parameters))


def test_classes_cannot_go_to_shared_memory():
    with pytest.raises(ParameterInvalid, match="classes"):
        read_output_part(output(classification=integer(1), **IN_REGION))


def test_an_empty_final_response_may_be_asked_for():
    asked = request_with(triton_enable_empty_final_response=InferParameter(bool_param=True))
    assert read_parameters(asked) == RequestParameters(empty_final=True)
    with pytest.raises(ParameterInvalid, match="bool"):
        read_parameters(request_with(triton_enable_empty_final_response=integer(1)))


def test_an_unknown_parameter_of_an_input_or_output_is_refused():
    with pytest.raises(ParameterInvalid, match="unknown parameter 'colour'"):
        read_class_count(output(colour=integer(1)))
    with pytest.raises(ParameterInvalid, match="unknown parameter 'colour'"):
        read_input_part(input_item(colour=integer(1)))
    with pytest.raises(ParameterInvalid, match="unknown parameter 'shared_memory_name'"):
        read_input_part(input_item(shared_memory_name=integer(1)))

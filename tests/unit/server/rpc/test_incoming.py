import pytest
from attendant.v1.classify_pb2 import ClassifyRequest
from grpc_health.v1.health_pb2 import HealthCheckRequest

from server.errors import MalformedMessage, ParameterInvalid
from server.rpc.incoming import REQUEST_ID_HEADER, RequestIds, header, header_id, parse, valid_request_id
from server.wire.grpc_service_pb2 import ModelInferRequest


@pytest.mark.parametrize("text", ["a", "x" * 128, "7f3-#!~", "with space"])
def test_printable_ascii_is_a_request_id(text):
    assert valid_request_id(text)


@pytest.mark.parametrize("text", ["", "x" * 129, "a\n", "\x00", "\x7f", "größe", "\u202e"])
def test_anything_else_is_none(text):
    assert not valid_request_id(text)


def test_a_message_carries_its_id_by_the_name_of_its_protocol():
    content = ModelInferRequest(id="mine", model_name="m").SerializeToString()
    assert parse(ModelInferRequest, content) == (ModelInferRequest.FromString(content), "mine")
    assert parse(ClassifyRequest, ClassifyRequest(request_id="own").SerializeToString())[1] == "own"
    assert parse(HealthCheckRequest, b"")[1] == ""


def test_bytes_that_are_no_message_are_refused():
    with pytest.raises(MalformedMessage, match=r"the 2 bytes are no inference\.ModelInferRequest"):
        parse(ModelInferRequest, b"\xff\xff")


def test_an_id_that_cannot_stand_in_a_header_is_refused_in_a_message_and_ignored_in_one():
    with pytest.raises(ParameterInvalid, match="a request id"):
        parse(ModelInferRequest, ModelInferRequest(id="a\nb").SerializeToString())
    assert header_id([(REQUEST_ID_HEADER, "a\nb")]) == ""
    assert header_id([("other", "x"), (REQUEST_ID_HEADER, "mine")]) == "mine"
    assert header_id(None) == ""


def test_a_header_of_bytes_is_none():
    assert header([("name-bin", b"x")], "name-bin") == ""


def test_made_up_ids_differ_within_a_process_and_between_processes():
    here, there = RequestIds(), RequestIds()
    made = [here.next() for _ in range(1000)]
    assert len({*made, *(there.next() for _ in range(1000))}) == 2000
    assert all(len(one) == 32 and valid_request_id(one) for one in made)
    assert {one[:16] for one in made} == {made[0][:16]}

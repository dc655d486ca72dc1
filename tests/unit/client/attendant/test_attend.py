import numpy as np
import pytest
from attendant import ServerError
from attendant.attend import ATTEND, attend_call, parse_attend
from attendant.common import ModelVersion, Timing
from attendant.v1 import attend_pb2, common_pb2

Q, K, V = [[1, 0]], [[1, 0], [0, 1]], [[1.5], [2.5]]


def tensor(array, dtype="<f4"):
    array = np.asarray(array, dtype)
    return attend_pb2.Tensor(shape=array.shape, values=array.tobytes())


def test_request_carries_every_argument_as_float32():
    call = attend_call(
        np.array(Q, np.float64),
        K,
        V,
        [[True, False]],
        model="attend-bilinear",
        parameters={"weight": np.eye(2, dtype=np.int64)},
        version=3,
        request_id="mine",
    )
    assert (call.method, call.request_id) == (ATTEND, "mine")
    assert call.request == attend_pb2.AttendRequest(
        model=common_pb2.ModelRef(name="attend-bilinear", version=3),
        inputs=[
            attend_pb2.AttendInput(
                query=tensor(Q),
                key=tensor(K),
                value=tensor(V),
                mask=tensor([[1, 0]], np.uint8),
                parameters={"weight": tensor([[1, 0], [0, 1]])},
            )
        ],
        request_id="mine",
    )


def test_default_request_asks_the_scaled_dot_product_without_a_mask():
    request = attend_call(Q, K, V).request
    assert request.model.name == "attend"
    assert not request.inputs[0].HasField("mask")
    assert request.request_id


@pytest.mark.parametrize("query", [[Q, [[0, 1], [1, 1]]], [np.array(Q), np.array([[0, 1], [1, 1]])]])
def test_a_sequence_is_several_inputs_of_their_own_sizes(query):
    request = attend_call(query, [K, K[:1]], [V, V[:1]], parameters={"weight": np.eye(2)}).request
    assert [list(each.query.shape) for each in request.inputs] == [[1, 2], [2, 2]]
    assert [list(each.key.shape) for each in request.inputs] == [[2, 2], [1, 2]]
    assert request.inputs[0].parameters["weight"] == request.inputs[1].parameters["weight"]


def test_an_array_of_three_axes_is_several_inputs_too():
    request = attend_call(np.ones((4, 1, 2)), np.ones((4, 2, 2)), np.ones((4, 2, 1)), np.ones((4, 1, 2), bool)).request
    assert [list(each.mask.shape) for each in request.inputs] == [[1, 2]] * 4


def test_no_input_at_all_is_sent_for_the_server_to_refuse():
    assert list(attend_call(np.ones((0, 1, 2)), np.ones((0, 2, 2)), np.ones((0, 2, 1))).request.inputs) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([Q, Q], [K], [V, V]), "every input needs one of each: 2 of query, 1 of key, 2 of value"),
        ((Q, K, V, [[1, 0]]), r"mask must be bool \(True may attend\), not int64"),
        ((Q, K, [["a"], ["b"]]), "value must be numbers, not <U1"),
        ((Q, K, [[1j], [2]]), "value must be numbers, not complex128"),
        (([[1, 0], [1]], K, V), "inhomogeneous"),
    ],
)
def test_what_is_no_array_of_numbers_is_refused_before_it_is_sent(arguments, message):
    with pytest.raises(ValueError, match=message):
        attend_call(*arguments)


def test_numbers_beyond_float32_are_left_to_the_server_as_infinity():
    request = attend_call([[1e300, 0]], K, V).request
    assert np.frombuffer(request.inputs[0].query.values, "<f4").tolist() == [np.inf, 0]


def test_reply_becomes_arrays_that_iterate_in_order():
    result = parse_attend(
        attend_pb2.AttendResponse(
            model=common_pb2.ModelVersion(name="attend", version=2, alias="stable"),
            results=[
                attend_pb2.Attended(context=tensor([[1, 2]]), weights=tensor([[0.25, 0.75]])),
                attend_pb2.Attended(context=tensor([[3]]), weights=tensor([[[1]], [[1]]])),
            ],
            timing=common_pb2.Timing(request_s=0.5),
            request_id="mine",
        )
    )
    assert (len(result), result.model, result.request_id) == (2, ModelVersion("attend", 2, "stable"), "mine")
    assert [each.weights.shape for each in result] == [(1, 2), (2, 1, 1)]
    assert result[0].context.tolist() == [[1, 2]]
    assert result[0].context.dtype == np.float32
    assert result.timing == Timing(0, 0, 0.5, 0)


def test_tensor_that_contradicts_itself_is_the_servers_error():
    broken = attend_pb2.Attended(context=attend_pb2.Tensor(shape=[2], values=b"x" * 7))
    with pytest.raises(ServerError, match=r"context: 7 bytes do not fill shape \[2\]"):
        parse_attend(attend_pb2.AttendResponse(results=[broken]))

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from server.errors import InferenceFailed
from server.runtime.binding import BoundRun
from server.runtime.session import Session

ROWS, FIXED = "rows", 3


@pytest.fixture
def session(tmp_path):
    """next = state + x; copy = next again; long = x repeated `times` over; a state may be its own successor."""
    info = lambda name, kind, *shape: helper.make_tensor_value_info(name, kind, list(shape))  # noqa: E731
    graph = helper.make_graph(
        [
            helper.make_node("Add", ["state", "x"], ["next"]),
            helper.make_node("Identity", ["next"], ["copy"]),
            helper.make_node("Tile", ["x", "times"], ["long"]),
        ],
        "adds",
        [
            info("state", TensorProto.FLOAT, ROWS, FIXED),
            info("x", TensorProto.FLOAT, ROWS, FIXED),
            info("times", TensorProto.INT64, 2),
        ],
        [
            info("next", TensorProto.FLOAT, ROWS, FIXED),
            info("copy", TensorProto.FLOAT, ROWS, FIXED),
            info("long", TensorProto.FLOAT, None, None),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(model, str(tmp_path / "adds.onnx"))
    opened = Session.open(tmp_path / "adds.onnx")
    yield opened
    opened.close()


@pytest.fixture
def arrays():
    return {
        "state": np.ones((2, FIXED), np.float32),
        "x": np.arange(6, dtype=np.float32).reshape(2, FIXED),
        "times": np.array([1, 1]),
    }


def test_a_run_reads_what_the_arrays_hold_when_it_runs(session, arrays):
    out = np.zeros((2, FIXED), np.float32)
    bound = BoundRun(session, arrays, {"next": out})
    assert bound.run() == {}
    np.testing.assert_array_equal(out, arrays["x"] + 1)
    arrays["x"][:] = 5
    bound.run()
    np.testing.assert_array_equal(out, np.full((2, FIXED), 6))


def test_an_output_may_lie_in_the_memory_of_an_input(session, arrays):
    bound = BoundRun(session, arrays, {"next": arrays["state"]})
    for _ in range(3):
        bound.run()
    np.testing.assert_array_equal(arrays["state"], 1 + 3 * arrays["x"])


def test_the_first_rows_of_a_buffer_are_bound_and_those_behind_are_untouched(session, arrays):
    buffer = np.full((5, FIXED), 9, np.float32)
    BoundRun(session, arrays, {"next": buffer[:2]}).run()
    np.testing.assert_array_equal(buffer[:2], arrays["x"] + 1)
    assert (buffer[2:] == 9).all()


def test_outputs_without_an_array_are_made_anew_by_each_run(session, arrays):
    bound = BoundRun(session, arrays, {"copy": None, "next": np.zeros((2, FIXED), np.float32), "long": None})
    first = bound.run()
    assert list(first) == ["copy", "long"]
    kept = first["copy"].copy()
    arrays["x"][:] = 7
    second = bound.run()
    np.testing.assert_array_equal(second["copy"], np.full((2, FIXED), 8))
    np.testing.assert_array_equal(first["copy"], kept)


def test_an_output_without_an_array_may_have_another_shape_in_each_run(session, arrays):
    bound = BoundRun(session, arrays, {"long": None})
    assert bound.run()["long"].shape == (2, FIXED)
    arrays["times"][:] = 2, 3
    assert bound.run()["long"].shape == (4, 3 * FIXED)
    arrays["times"][:] = 1
    assert bound.run()["long"].shape == (2, FIXED)


def test_it_holds_on_to_its_arrays(session, arrays):
    import gc

    out = np.zeros((2, FIXED), np.float32)
    bound = BoundRun(session, {name: array.copy() for name, array in arrays.items()}, {"next": out})
    gc.collect()
    bound.run()
    np.testing.assert_array_equal(out, arrays["x"] + 1)


def test_an_array_that_is_not_one_piece_of_memory_is_refused(session, arrays):
    arrays["x"] = np.zeros((2, 2 * FIXED), np.float32)[:, ::2]
    with pytest.raises(InferenceFailed, match="x cannot be bound"):
        BoundRun(session, arrays, {})
    arrays["x"] = np.zeros((2, FIXED), np.float32)
    with pytest.raises(InferenceFailed, match="next cannot be bound"):
        BoundRun(session, arrays, {"next": np.zeros((FIXED, 2), np.float32).T})


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("x", np.zeros((2, FIXED), np.float64)),
        ("x", np.zeros((2, FIXED + 1), np.float32)),
        ("nobody", np.zeros((2, FIXED), np.float32)),
    ],
)
def test_what_the_graph_does_not_take_is_told_without_the_runtimes_words(session, arrays, name, array):
    arrays[name] = array
    with pytest.raises(InferenceFailed) as caught:
        BoundRun(session, arrays, {"next": np.zeros((2, FIXED), np.float32)}).run()
    assert "ONNX" not in caught.value.message


def test_an_output_that_the_graph_has_not_is_told_without_the_runtimes_words(session, arrays):
    with pytest.raises(InferenceFailed):
        BoundRun(session, arrays, {"nobody": None}).run()


def test_a_closed_session_binds_and_runs_nothing(session, arrays):
    bound = BoundRun(session, arrays, {"next": np.zeros((2, FIXED), np.float32)})
    session.close()
    with pytest.raises(InferenceFailed, match="closed"):
        bound.run()
    with pytest.raises(InferenceFailed, match="closed"):
        BoundRun(session, arrays, {})

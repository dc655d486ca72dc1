import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from server.errors import ArtifactCorrupt
from server.runtime import golden
from server.runtime.golden import replay
from server.runtime.session import Session
from tests.support.artifacts import graph_bytes, identity_graph, linear_graph


def session_of(tmp_path, content):
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    return Session.open(path)


@pytest.fixture
def linear(tmp_path):
    session = session_of(tmp_path, linear_graph())
    yield session
    session.close()


def row(session, value=1.0):
    inputs = {"x": np.full((1, 4), value, np.float32)}
    return inputs, session.run(inputs)


def write(path, rows):
    arrays = {}
    for number, (inputs, outputs) in enumerate(rows):
        arrays |= {f"input.{number}.{name}": array for name, array in inputs.items()}
        arrays |= {f"output.{number}.{name}": array for name, array in outputs.items()}
    np.savez_compressed(path, **arrays)
    return path


def test_right_answers_pass_and_are_counted(tmp_path, linear):
    assert replay(write(tmp_path / "golden.npz", [row(linear, 1), row(linear, 2)]), linear, 1e-6) == 2


@pytest.mark.parametrize("shift", [0.5, np.nan, np.inf])
def test_answer_beyond_the_tolerance_is_refused(tmp_path, linear, shift):
    inputs, outputs = row(linear)
    path = write(tmp_path / "golden.npz", [(inputs, {"logits": outputs["logits"] + np.float32(shift)})])
    with pytest.raises(ArtifactCorrupt, match=r"row 0: output logits differs by .* more than the 0.1 allowed"):
        replay(path, linear, 0.1)


def test_answer_within_the_tolerance_passes(tmp_path, linear):
    inputs, outputs = row(linear)
    path = write(tmp_path / "golden.npz", [(inputs, {"logits": outputs["logits"] + np.float32(0.05)})])
    assert replay(path, linear, 0.1) == 1


def test_nan_and_infinity_equal_themselves(tmp_path):
    session = session_of(tmp_path, identity_graph())
    values = {"x": np.array([[np.nan, np.inf, -np.inf]], np.float32)}
    assert replay(write(tmp_path / "golden.npz", [(values, session.run(values))]), session, 1e-6) == 1


def test_integers_must_be_equal_whatever_the_tolerance(tmp_path):
    session = session_of(tmp_path, identity_graph(TensorProto.INT64))
    path = write(tmp_path / "golden.npz", [({"x": np.array([[1]])}, {"y": np.array([[2]])})])
    with pytest.raises(ArtifactCorrupt, match="differs"):
        replay(path, session, 10.0)


@pytest.mark.parametrize(("answer", "passes"), [(0x3F80, True), (0x3F81, True), (0x4000, False)])
def test_bf16_is_compared_as_numbers(tmp_path, answer, passes):
    session = session_of(tmp_path, identity_graph(TensorProto.BFLOAT16))
    one = np.array([[0x3F80]], np.uint16)
    path = write(tmp_path / "golden.npz", [({"x": one}, {"y": np.array([[answer]], np.uint16)})])
    if passes:
        assert replay(path, session, 0.1) == 1
    else:
        with pytest.raises(ArtifactCorrupt, match="differs by 1 "):
            replay(path, session, 0.1)


@pytest.mark.parametrize(("answer", "passes"), [(b"a", True), (b"b", False)])
def test_text_must_be_equal(tmp_path, answer, passes):
    session = session_of(
        tmp_path,
        graph_bytes(
            [helper.make_node("Gather", ["words", "x"], ["y"])],
            {"x": (TensorProto.INT64, ("n",))},
            {"y": (TensorProto.STRING, ("n",))},
            {"words": np.array(["a", "c"], dtype=object)},
        ),
    )
    path = write(tmp_path / "golden.npz", [({"x": np.array([0])}, {"y": np.array([answer])})])
    if passes:
        assert replay(path, session, 1e-4) == 1
    else:
        with pytest.raises(ArtifactCorrupt, match="differs"):
            replay(path, session, 1e-4)


@pytest.mark.parametrize(
    "outputs",
    [
        {"logits": np.zeros((2, 3), np.float32)},
        {"logits": np.zeros((1, 3), np.float64)},
        {"other": np.zeros((1, 3), np.float32)},
        {},
    ],
)
def test_outputs_of_another_signature_are_refused(tmp_path, linear, outputs):
    path = write(tmp_path / "golden.npz", [(row(linear)[0], outputs)])
    with pytest.raises(ArtifactCorrupt, match="row 0"):
        replay(path, linear, 1.0)


def test_row_that_the_graph_fails_on_is_refused(tmp_path, linear):
    path = write(tmp_path / "golden.npz", [({"x": np.zeros((1, 9), np.float32)}, row(linear)[1])])
    with pytest.raises(ArtifactCorrupt, match="fails on row 0"):
        replay(path, linear, 1.0)


def test_file_without_rows_is_refused(tmp_path, linear):
    with pytest.raises(ArtifactCorrupt, match="no row"):
        replay(write(tmp_path / "golden.npz", []), linear, 1.0)


def test_pickled_objects_are_refused_unread(tmp_path, linear):
    path = tmp_path / "golden.npz"
    np.savez(path, **{"input.0.x": np.array([object()], dtype=object)})
    with pytest.raises(ArtifactCorrupt, match="no archive"):
        replay(path, linear, 1.0)


@pytest.mark.parametrize("name", ["x", "input.0", "neither.0.x"])
def test_array_of_another_name_is_refused(tmp_path, linear, name):
    path = tmp_path / "golden.npz"
    np.savez(path, **{name: np.zeros(1)})
    with pytest.raises(ArtifactCorrupt, match="no archive"):
        replay(path, linear, 1.0)


def test_archive_that_unpacks_beyond_the_bound_is_refused(tmp_path, linear, monkeypatch):
    monkeypatch.setattr(golden, "MAX_GOLDEN_BYTES", 10_000)
    path = write(tmp_path / "golden.npz", [({"x": np.zeros((1, 100_000), np.float32)}, {})])
    assert path.stat().st_size < 10_000
    with pytest.raises(ArtifactCorrupt, match="unpacks"):
        replay(path, linear, 1.0)


def test_missing_file_is_refused(tmp_path, linear):
    with pytest.raises(ArtifactCorrupt):
        replay(tmp_path / "golden.npz", linear, 1.0)


def test_member_that_is_no_array_is_refused(tmp_path, linear):
    path = tmp_path / "golden.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("input.0.x.npy", b"not an array")
    with pytest.raises(ArtifactCorrupt):
        replay(path, linear, 1.0)


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_damaged_archive_is_refused_or_read_never_worse(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("golden")
    session = session_of(folder, linear_graph())
    path = write(folder / "golden.npz", [row(session)])
    content = bytearray(path.read_bytes())
    for position in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=6)):
        content[position] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        replay(path, session, 1e-4)
    except ArtifactCorrupt:
        return

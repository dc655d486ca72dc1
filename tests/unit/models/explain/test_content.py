import numpy as np
import pytest

from models.explain.content import graph_inputs, read_content
from models.explain.version import opened_version
from server.codecs import EncodedRow, Truncation
from server.errors import EmptyInput, SequenceTooLong, SignatureMismatch, UndecodableInput
from server.manifest import FixedAxis, InputSpec, LengthAxis, RowAxis
from server.tensors import Datatype
from tests.support.artifacts import signed_manifest


@pytest.fixture
def text_codec(store):
    with opened_version(store, "areas") as version:
        yield version.codec


@pytest.fixture
def image_codec(store):
    with opened_version(store, "digits") as version:
        yield version.codec


def test_text_is_taken_as_it_is_or_from_a_file(text_codec, tmp_path):
    (tmp_path / "note.txt").write_text("a file")
    assert read_content("a text", text_codec).text == "a text"
    assert read_content(str(tmp_path / "note.txt"), text_codec).text == "a file"


def test_text_longer_than_any_file_name_is_a_text(text_codec):
    long = "a " * 3000
    assert read_content(long, text_codec, Truncation.END).row.truncated
    with pytest.raises(SequenceTooLong):
        read_content(long, text_codec)


def test_empty_text_is_refused(text_codec):
    with pytest.raises(EmptyInput):
        read_content("", text_codec)


def test_image_for_a_text_model_is_refused(text_codec, image):
    with pytest.raises(SignatureMismatch, match=r"takes text, and .* is no text"):
        read_content(str(image), text_codec)
    with pytest.raises(SignatureMismatch, match=r"'missing\.PNG' names an image"):
        read_content("missing.PNG", text_codec)


def test_text_for_an_image_model_is_refused(image_codec, tmp_path):
    with pytest.raises(SignatureMismatch, match=r"takes images: .* 'a seven' is none"):
        read_content("a seven", image_codec)
    (tmp_path / "note.txt").write_text("a seven")
    with pytest.raises(UndecodableInput):
        read_content(str(tmp_path / "note.txt"), image_codec)


def test_image_keeps_its_bytes(image_codec, image):
    content = read_content(str(image), image_codec)
    assert content.image == image.read_bytes()
    assert content.text is None


def test_model_without_a_codec_takes_an_archive_of_arrays(tmp_path):
    np.savez(tmp_path / "row.npz", x=np.ones((1, 4), np.float32))
    content = read_content(str(tmp_path / "row.npz"), None)
    assert content.row.inputs["x"].shape == (1, 4)
    with pytest.raises(SignatureMismatch, match=r"must name an \.npz file"):
        read_content("x", None)
    (tmp_path / "row.npz").write_bytes(b"no archive")
    with pytest.raises(UndecodableInput, match=r"not a readable \.npz"):
        read_content(str(tmp_path / "row.npz"), None)


def manifest(*inputs):
    return signed_manifest({}, inputs=inputs)


ROW, LENGTH = RowAxis(), LengthAxis()
IDS = InputSpec(name="ids", datatype=Datatype.INT64, axes=(ROW, LENGTH))
MASK = InputSpec(name="mask", datatype=Datatype.INT64, axes=(ROW, LENGTH), role="mask", optional=True)
TYPES = InputSpec(name="types", datatype=Datatype.INT64, axes=(ROW, LENGTH), pad=7, optional=True)


def row(**arrays):
    return EncodedRow({name: np.asarray(array) for name, array in arrays.items()})


def test_masks_are_cast_and_absent_optional_inputs_filled_in():
    inputs = graph_inputs(manifest(IDS, MASK, TYPES), row(ids=[[5, 6]], mask=[[True, False]]))
    assert inputs["mask"].dtype == np.int64
    assert {name: array.tolist() for name, array in inputs.items()} == {
        "ids": [[5, 6]],
        "mask": [[1, 0]],
        "types": [[7, 7]],
    }
    assert graph_inputs(manifest(IDS, MASK), row(ids=[[5, 6]]))["mask"].tolist() == [[1, 1]]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (row(mask=[[True]]), "needs the input 'ids'"),
        (row(ids=[[1]], other=[[1]]), "unknown input 'other'; the model takes ids, mask"),
        (row(ids=[1]), "'ids' has 1 axes, not 2"),
        (row(ids=[[1], [2]]), "'ids' has 2 rows"),
    ],
)
def test_row_that_does_not_fit_is_refused(given, message):
    with pytest.raises(SignatureMismatch, match=message):
        graph_inputs(manifest(IDS, MASK), given)


def test_optional_input_of_unknown_size_is_refused():
    free = InputSpec(name="bias", datatype=Datatype.FP32, axes=(ROW, LengthAxis(name="other")), optional=True)
    fixed = InputSpec(name="scale", datatype=Datatype.FP32, axes=(ROW, FixedAxis(size=2)), optional=True)
    assert graph_inputs(manifest(IDS, fixed), row(ids=[[1]]))["scale"].tolist() == [[0.0, 0.0]]
    with pytest.raises(SignatureMismatch, match="needs the input 'bias'"):
        graph_inputs(manifest(IDS, free), row(ids=[[1]]))

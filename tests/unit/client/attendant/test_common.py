import pytest
from attendant.common import model_ref, read_inputs, truncation_value
from attendant.v1 import common_pb2


def test_one_input_and_several_are_both_a_list(tmp_path):
    image = tmp_path / "three.png"
    image.write_bytes(b"pixels")
    assert read_inputs("text") == ["text"]
    assert read_inputs(b"pixels") == [b"pixels"]
    assert read_inputs(image) == [b"pixels"]
    assert read_inputs(["text", image, b"more"]) == ["text", b"pixels", b"more"]


def test_input_of_another_type_is_refused_by_its_type():
    with pytest.raises(TypeError, match="int"):
        read_inputs(["text", 3])


def test_missing_file_raises_before_anything_is_sent(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_inputs(tmp_path / "none.png")


def test_model_is_named_by_version_by_alias_or_by_neither():
    assert model_ref("m", 3, None) == common_pb2.ModelRef(name="m", version=3)
    assert model_ref("m", None, "canary") == common_pb2.ModelRef(name="m", alias="canary")
    assert model_ref("m", None, None).WhichOneof("selector") is None
    assert model_ref("m", 0, None).WhichOneof("selector") == "version"


def test_version_with_alias_is_refused():
    with pytest.raises(ValueError, match="not both"):
        model_ref("m", 3, "canary")


def test_unknown_truncation_is_refused_with_the_choices():
    with pytest.raises(ValueError, match="refuse, cut_end, cut_start"):
        truncation_value("middle")

import json
import shutil

import pytest

from models.importing.failure import ImportRefused
from models.importing.folder import known_words, read_export


def test_export_is_read(marian):
    export = read_export(marian)
    assert export.model_type == "marian"
    assert export.generation["max_length"] == 24
    assert known_words(export, 1) == export.config["vocab_size"]


def test_graphs_may_lie_in_a_folder_of_their_own(t5):
    (t5 / "onnx").mkdir()
    for graph in t5.glob("*.onnx"):
        graph.rename(t5 / "onnx" / graph.name)
    assert read_export(t5).decoder == t5 / "onnx" / "decoder_model.onnx"


def test_without_generation_config_the_config_stands_for_it(t5):
    (t5 / "generation_config.json").unlink()
    export = read_export(t5)
    assert export.generation == export.config


def test_merged_decoder_alone_is_refused_with_the_command_that_does_not_merge(t5):
    (t5 / "decoder_model.onnx").rename(t5 / "decoder_model_merged.onnx")
    (t5 / "decoder_with_past_model.onnx").unlink()
    with pytest.raises(ImportRefused, match=r"not merged.*--no-post-process"):
        read_export(t5)


def test_merged_decoder_beside_the_others_does_no_harm(t5):
    shutil.copyfile(t5 / "decoder_model.onnx", t5 / "decoder_model_merged.onnx")
    read_export(t5)


def test_missing_graph_is_named(t5):
    (t5 / "decoder_with_past_model.onnx").unlink()
    with pytest.raises(ImportRefused, match=r"lacks decoder_with_past_model\.onnx: export with"):
        read_export(t5)


def test_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ImportRefused, match="is no folder"):
        read_export(tmp_path / "nowhere")


def test_folder_without_config_is_refused(tmp_path):
    with pytest.raises(ImportRefused, match=r"no config\.json"):
        read_export(tmp_path)


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff"])
def test_malformed_json_is_refused(t5, content):
    (t5 / "config.json").write_bytes(content)
    with pytest.raises(ImportRefused, match=r"config\.json"):
        read_export(t5)


def test_decoder_without_an_encoder_is_refused(t5):
    (t5 / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    with pytest.raises(ImportRefused, match="only encoder-decoders"):
        read_export(t5)

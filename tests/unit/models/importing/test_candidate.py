import json

import onnx
import pytest

from models.importing.candidate import ENCODE_FILE, STEP_FILE, import_candidate
from models.importing.failure import ImportRefused
from models.importing.folder import read_export
from models.importing.verify import verify_import
from server.manifest import parse_manifest


def test_candidate_says_what_it_is_and_where_it_came_from(marian, tmp_path):
    manifest = import_candidate(read_export(marian), tmp_path / "bundle", name="translator")
    assert manifest.task == "translation"
    assert [(graph.file, graph.role) for graph in manifest.graphs] == [(ENCODE_FILE, "encode"), (STEP_FILE, "step")]
    assert manifest.codec.tokenizer == "tokenizer.json"
    assert manifest.generation.tokenizer == "target_tokenizer.json"
    assert manifest.generation.start == (manifest.input("input_ids").pad,)
    assert manifest.quality is None
    assert manifest.provenance.data is None
    assert manifest.provenance.config["model_type"] == "marian"
    assert manifest.provenance.config["imported_from"] == "marian"
    assert parse_manifest((tmp_path / "bundle" / "manifest.json").read_bytes()) == manifest


def test_task_and_length_may_be_told(t5, tmp_path):
    manifest = import_candidate(read_export(t5), tmp_path / "bundle", name="t5", task="summarisation", max_length=30)
    assert manifest.task == "summarisation"
    assert manifest.generation.max_length == manifest.codec.max_length == 30


def test_large_weights_lie_beside_the_graphs_each_once(marian, tmp_path):
    inside = import_candidate(read_export(marian), tmp_path / "inside", name="m")
    import_candidate(read_export(marian), tmp_path / "outside", name="m", embedded_max_bytes=0)
    weights = (tmp_path / "outside" / "weights.bin").stat().st_size
    sizes = [
        sum((tmp_path / kind / graph.file).stat().st_size for graph in inside.graphs) for kind in ("inside", "outside")
    ]
    assert 0 < weights < sizes[0] - sizes[1] + 4096 * 64
    assert verify_import(read_export(marian), tmp_path / "outside").outputs[0].max_error <= 1e-3


def test_weights_beside_the_export_come_into_the_bundle(t5, tmp_path):
    for name in ("encoder_model", "decoder_model", "decoder_with_past_model"):
        model = onnx.load(t5 / f"{name}.onnx")
        onnx.save(
            model, t5 / f"{name}.onnx", save_as_external_data=True, location=f"{name}.onnx_data", size_threshold=0
        )
    export = read_export(t5)
    for embedded in (0, 2**30):
        import_candidate(export, tmp_path / "bundle", name="t5", embedded_max_bytes=embedded)
        assert not list((tmp_path / "bundle").glob("*_data"))
        verify_import(export, tmp_path / "bundle")


def test_refused_import_leaves_the_former_candidate(t5, tmp_path):
    import_candidate(read_export(t5), tmp_path / "bundle", name="t5")
    before = (tmp_path / "bundle" / "manifest.json").read_bytes()
    (t5 / "tokenizer.json").unlink()
    with pytest.raises(ImportRefused, match=r"neither tokenizer\.json nor"):
        import_candidate(read_export(t5), tmp_path / "bundle", name="t5")
    assert (tmp_path / "bundle" / "manifest.json").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_tokenizer_of_another_model_is_refused(t5, tmp_path):
    config = json.loads((t5 / "config.json").read_text())
    (t5 / "config.json").write_text(json.dumps(config | {"vocab_size": 20}))
    with pytest.raises(ImportRefused, match="the network knows 20 words"):
        import_candidate(read_export(t5), tmp_path / "bundle", name="t5")


def test_unreadable_tokenizer_is_refused(t5, tmp_path):
    (t5 / "tokenizer.json").write_text("{}")
    with pytest.raises(ImportRefused, match="not a readable tokenizer"):
        import_candidate(read_export(t5), tmp_path / "bundle", name="t5")

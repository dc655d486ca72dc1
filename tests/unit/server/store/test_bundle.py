import json
import re
import shutil

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.errors import ArtifactCorrupt
from server.manifest import MANIFEST_FILE, GraphSpec
from server.runtime.session import Session
from server.store import paths
from server.store.bundle import open_bundle
from tests.support.artifacts import (
    OPSET,
    TEXT_SIGNATURE,
    external_graph,
    linear_graph,
    write_folder,
    write_signed,
)

MAX_BYTES = 10_000_000


def opened(store, model="linear", version=1, max_bytes=MAX_BYTES):
    return open_bundle(store, model, version, max_bytes=max_bytes)


def refusal(store, **options):
    with pytest.raises(ArtifactCorrupt) as caught:
        opened(store, **options)
    return caught.value.message


def edit_manifest(directory, **changes):
    path = directory / MANIFEST_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


# --- what opens -----------------------------------------------------------------------------------------------------


def test_published_bundle_opens_verified(tmp_path):
    directory = write_signed(tmp_path)
    bundle = opened(tmp_path)
    assert (bundle.model, bundle.version, bundle.verified, bundle.labels) == ("linear", 1, True, ())
    assert bundle.graph_path(bundle.manifest.graphs[0]) == directory.resolve() / "model.onnx"


def test_digest_of_the_graph_is_the_one_that_the_session_opens(tmp_path):
    write_signed(tmp_path)
    bundle = opened(tmp_path)
    graph = bundle.manifest.graphs[0]
    session = Session.open(bundle.graph_path(graph), sha256=bundle.sha256(graph.file))
    assert session.run({"x": np.zeros((1, 4), np.float32)})["logits"].shape == (1, 3)
    session.close()
    assert bundle.sha256("unlisted") is None


def test_labels_are_read(tmp_path):
    write_signed(tmp_path, {"labels.json": b'["a", "b", "c"]'}, labels="labels.json")
    assert opened(tmp_path).labels == ("a", "b", "c")


def test_file_that_the_manifest_does_not_list_is_ignored(tmp_path):
    write_folder(write_signed(tmp_path), {"notes.txt": b"hello"})
    assert opened(tmp_path).verified


def test_external_data_that_is_listed_opens(tmp_path):
    write_signed(tmp_path, {"model.onnx": external_graph("weights.bin", 4), "weights.bin": bytes(16)})
    assert opened(tmp_path).verified


def test_links_within_the_store_are_followed(tmp_path):
    directory = write_signed(tmp_path)
    directory.rename(tmp_path / "linear" / "..data")
    directory.symlink_to("..data")
    assert opened(tmp_path).directory == (tmp_path / "linear" / "..data").resolve()


# --- files against the manifest -------------------------------------------------------------------------------------


def test_tampered_file_is_refused(tmp_path):
    directory = write_signed(tmp_path)
    content = bytearray((directory / "model.onnx").read_bytes())
    content[-1] ^= 1
    (directory / "model.onnx").write_bytes(content)
    assert "model.onnx differs from the digest" in refusal(tmp_path)


def test_file_of_another_size_is_refused_unread(tmp_path):
    directory = write_signed(tmp_path)
    (directory / "model.onnx").write_bytes(linear_graph() + b"\0")
    assert "bytes where manifest.json says" in refusal(tmp_path)


def test_missing_file_is_refused(tmp_path):
    (write_signed(tmp_path, {"extra.bin": b"x"}) / "extra.bin").unlink()
    assert "extra.bin is missing" in refusal(tmp_path)


def test_folder_in_place_of_a_file_is_refused(tmp_path):
    directory = write_signed(tmp_path)
    (directory / "model.onnx").unlink()
    (directory / "model.onnx").mkdir()
    assert "model.onnx is not a file" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("unlisted", "changes"),
    [
        ("other.onnx", {"graphs": (GraphSpec(file="other.onnx", opset=OPSET),)}),
        ("labels.json", {"labels": "labels.json"}),
        ("golden.npz", {"golden": "golden.npz"}),
        ("tokenizer.json", TEXT_SIGNATURE),
    ],
)
def test_file_that_is_used_but_not_listed_is_refused(tmp_path, unlisted, changes):
    write_folder(write_signed(tmp_path, **changes), {unlisted: b"content"})
    assert f"uses {unlisted} without listing a digest" in refusal(tmp_path)


def test_bundle_larger_than_allowed_is_refused_unread(tmp_path):
    directory = write_signed(tmp_path)
    edit_manifest(directory, files={"model.onnx": {"sha256": "0" * 64, "bytes": 10**15}})
    assert "more than the 10000000 that are allowed" in refusal(tmp_path)


# --- the manifest ---------------------------------------------------------------------------------------------------


def test_manifest_of_another_model_is_refused(tmp_path):
    write_signed(tmp_path)
    shutil.copytree(tmp_path / "linear", tmp_path / "other")
    assert "is of model linear, but its folder is other" in refusal(tmp_path, model="other")


def test_manifest_of_a_future_schema_is_refused(tmp_path):
    edit_manifest(write_signed(tmp_path), schema_version=2)
    assert "schema version 2" in refusal(tmp_path)


@pytest.mark.parametrize("content", [b"", b"not json", b"[]", b"\xff\xfe", b"{"])
def test_manifest_that_is_not_a_json_object_is_refused(tmp_path, content):
    (write_signed(tmp_path) / MANIFEST_FILE).write_bytes(content)
    assert re.search(r"not (JSON|a JSON object)", refusal(tmp_path))


def test_huge_manifest_is_refused_unread(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "MAX_TEXT_BYTES", 1000)
    (write_signed(tmp_path) / MANIFEST_FILE).write_bytes(b" " * 1001)
    assert "manifest.json is larger than 1000 bytes" in refusal(tmp_path)


@pytest.mark.parametrize("content", [b"", b'"abc"', b'{"0": "a"}', b"[1, 2, 3]", b'["a", null, "c"]', b"\xff"])
def test_labels_that_are_not_a_list_of_strings_are_refused(tmp_path, content):
    write_signed(tmp_path, {"labels.json": content}, labels="labels.json")
    assert "not a JSON list of strings" in refusal(tmp_path)


def test_labels_of_another_number_than_the_classes_are_refused(tmp_path):
    directory = write_signed(tmp_path, {"labels.json": b'["a", "b"]'}, labels="labels.json")
    outputs = json.loads((directory / MANIFEST_FILE).read_text())["outputs"]
    edit_manifest(directory, outputs=[outputs[0] | {"role": "logits"}])
    assert "3 classes, but there are 2 labels" in refusal(tmp_path)


# --- links and paths ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["model.onnx", MANIFEST_FILE])
def test_file_that_links_out_of_the_store_is_refused(tmp_path, name):
    directory = write_signed(tmp_path / "store")
    (directory / name).rename(tmp_path / name)
    (directory / name).symlink_to(tmp_path / name)
    assert "out of the store" in refusal(tmp_path / "store")


def test_version_that_links_out_of_the_store_is_refused(tmp_path):
    directory = write_signed(tmp_path / "store")
    directory.rename(tmp_path / "outside")
    directory.symlink_to(tmp_path / "outside")
    assert "out of the store" in refusal(tmp_path / "store")


def test_manifest_that_is_a_broken_link_does_not_make_the_folder_unsigned(tmp_path):
    directory = write_signed(tmp_path)
    (directory / MANIFEST_FILE).unlink()
    (directory / MANIFEST_FILE).symlink_to("nowhere")
    assert "manifest.json is missing" in refusal(tmp_path)


def test_missing_version_is_refused(tmp_path):
    write_signed(tmp_path)
    assert "missing" in refusal(tmp_path, version=2)


@pytest.mark.parametrize("model", ["../linear", "", ".", "..", "a/b", "linear\n", "linear\0"])
def test_name_that_is_no_model_name_is_refused(tmp_path, model):
    write_signed(tmp_path)
    assert "cannot be the name of a bundle" in refusal(tmp_path, model=model)


@pytest.mark.parametrize("location", ["../secret", "/etc/passwd", "a/b", "..", ".", "a\\b", "a\0b"])
def test_external_data_outside_the_bundle_is_refused(tmp_path, location):
    write_folder(tmp_path, {"linear/secret": bytes(16)})
    write_signed(tmp_path, {"model.onnx": external_graph(location, 4)})
    assert "which is no plain file name in its bundle" in refusal(tmp_path)


def test_external_data_that_the_manifest_does_not_list_is_refused(tmp_path):
    directory = write_signed(tmp_path, {"model.onnx": external_graph("weights.bin", 4)})
    write_folder(directory, {"weights.bin": bytes(16)})
    assert "'weights.bin', which manifest.json does not list" in refusal(tmp_path)


def test_external_data_that_links_out_of_the_store_is_refused(tmp_path):
    files = {"model.onnx": external_graph("weights.bin", 4), "weights.bin": bytes(16)}
    directory = write_signed(tmp_path / "store", files)
    (directory / "weights.bin").rename(tmp_path / "weights.bin")
    (directory / "weights.bin").symlink_to(tmp_path / "weights.bin")
    assert "out of the store" in refusal(tmp_path / "store")


# --- anything at all ------------------------------------------------------------------------------------------------


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(content=st.binary(max_size=400))
def test_random_bytes_as_the_graph_of_a_signed_bundle_are_refused(tmp_path_factory, content):
    store = tmp_path_factory.mktemp("store")
    write_signed(store, {"model.onnx": content})
    assert refusal(store)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_manifest_with_any_field_replaced_is_refused_or_opened_never_worse(tmp_path_factory, data):
    store = tmp_path_factory.mktemp("store")
    directory = write_signed(store)
    fields = sorted(json.loads((directory / MANIFEST_FILE).read_text()))
    edit_manifest(directory, **{data.draw(st.sampled_from(fields)): data.draw(JSON)})
    try:
        opened(store)
    except ArtifactCorrupt:
        return


@settings(max_examples=100, deadline=None)
@given(content=st.binary(max_size=400))
def test_random_bytes_as_a_manifest_are_refused(tmp_path_factory, content):
    store = tmp_path_factory.mktemp("store")
    (write_signed(store) / MANIFEST_FILE).write_bytes(content)
    assert refusal(store)

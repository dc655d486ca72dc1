import numpy as np
import pytest
import torch

from benchmarks.load.requests import request_list
from benchmarks.shapes.network import Embedder, EmbedderConfig
from benchmarks.shapes.publish import NOOP, SHAPES, graph_of, published
from benchmarks.suites.reference import reference
from server.packed import PACKED_LAYOUTS
from server.runtime.session import Session
from server.store.bundle import open_bundle

SHAPE = "tiny-shape"


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def graph(cache):
    return graph_of(SHAPE, cache)


def test_shapes_are_of_their_stated_size():
    sizes = {
        name: (config.num_layers, config.d_model, config.num_heads, config.d_ff, config.vocab_size)
        for name, config in SHAPES.items()
    }

    assert sizes["minilm-shape"] == (6, 384, 12, 1536, 30522)
    assert sizes["tiny-shape"][:3] == (2, 64, 4)


def test_shape_is_an_ordinary_verified_bundle(cache, graph):
    bundle = open_bundle(published(SHAPE, cache), SHAPE, 1, max_bytes=1024**3)

    assert bundle.verified
    assert bundle.manifest.batching.invariant
    assert bundle.manifest.quality is None
    assert [spec.name for spec in bundle.manifest.outputs] == ["embedding"]


def test_shape_has_both_packed_graphs_and_they_passed(cache, graph):
    manifest = open_bundle(published(SHAPE, cache), SHAPE, 1, max_bytes=1024**3).manifest

    plain = [one for one in manifest.graphs if one.precision == "fp32"]
    assert [one.layout for one in plain] == ["rows", *PACKED_LAYOUTS]
    assert [one.file for one in manifest.parity.packed] == [one.file for one in plain[1:]]
    assert [one.layout for one in manifest.graphs if one.precision == "int8"] == ["rows", *PACKED_LAYOUTS]


def test_shape_is_published_once(cache, graph):
    assert graph_of(SHAPE, cache) == graph
    assert [path.name for path in graph.parents[1].iterdir()] == ["1"]


def test_reference_is_what_the_network_answers(cache, graph):
    requests = request_list("mixed", 8, SHAPES[SHAPE].vocab_size, seed=3)
    torch.manual_seed(0)
    network = Embedder(SHAPES[SHAPE]).eval()

    found = reference(SHAPE, graph, requests, cache)

    for ids, vector in zip(requests.rows, found, strict=True):
        with torch.inference_mode():
            row = torch.from_numpy(ids)[None]
            expected = network(row, torch.ones_like(row, dtype=torch.bool)).embedding[0].numpy()
        assert np.abs(vector - expected).max() < 1e-4


def test_int8_form_answers_nearly_alike(cache, graph):
    ids = request_list("sixteen", 1, SHAPES[SHAPE].vocab_size, seed=0).rows[0][None]
    inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids, dtype=np.bool_)}
    small_graph = graph.with_name("model.int8.onnx")

    plain, small = (Session.open(path).run(inputs)["embedding"][0] for path in (graph, small_graph))

    assert 0 < np.abs(plain - small).max() < 0.5
    assert plain @ small / (np.linalg.norm(plain) * np.linalg.norm(small)) > 0.99


def test_noop_answers_its_ids(cache):
    ids = np.arange(6, dtype=np.int64).reshape(2, 3)

    assert np.array_equal(Session.open(graph_of(NOOP, cache)).run({"input_ids": ids})["echo"], ids)


def test_maps_are_outputs_only_where_they_are_asked_for():
    ids = torch.ones((1, 3), dtype=torch.int64)
    mask = torch.ones_like(ids, dtype=torch.bool)

    with_maps, without = (
        Embedder(EmbedderConfig(d_model=8, num_heads=2, num_layers=2, d_ff=8, vocab_size=9, maps=maps))(ids, mask)
        for maps in (True, False)
    )

    assert [tuple(weights.shape) for weights in with_maps.attention] == [(1, 2, 3, 3)] * 2
    assert without.attention == ()

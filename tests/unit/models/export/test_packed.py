from dataclasses import replace

import pytest
import torch

from models.export.packed import PACKED_FILES, export_packed, is_packable
from models.networks import TextClassifier, TextClassifierConfig
from models.registry import MODELS
from server.manifest import TextCodecSpec
from server.packed import PACKED_LAYOUTS

TINY = TextClassifierConfig.tiny()
TASK = MODELS["areas"].task


def signature(config):
    return TASK.signature(config, TextCodecSpec(max_length=config.max_len))


def test_each_layout_has_a_graph_of_its_own_without_maps(tmp_path):
    graphs = list(export_packed(TextClassifier(TINY), TASK.flatten, signature(TINY), tmp_path))
    assert [graph.layout for graph in graphs] == list(PACKED_LAYOUTS)
    assert [graph.file for graph in graphs] == list(PACKED_FILES.values())
    assert {path.name for path in tmp_path.iterdir()} == set(PACKED_FILES.values())
    assert not any(graph.maps for graph in graphs)


def test_network_with_a_window_gets_no_packed_graph(tmp_path):
    config = replace(TINY, window=3)
    assert list(export_packed(TextClassifier(config), TASK.flatten, signature(config), tmp_path)) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("model", sorted(MODELS))
def test_a_registered_model_is_packable_if_its_rows_are_sequences_of_tokens(model):
    registered = MODELS[model]
    config = getattr(registered, "tiny", registered.config)
    network = registered.task.build(config)
    codec = TextCodecSpec(max_length=TINY.max_len) if model == "areas" else None
    assert is_packable(network, registered.task.signature(config, codec)) == (model == "areas")


def test_a_network_that_knows_no_layouts_is_not_packable():
    assert not is_packable(torch.nn.Linear(1, 1), signature(TINY))

"""Packed graphs against the network over padded rows, at mixes of lengths that the export never saw."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.shapes.network import Embedder, EmbedderConfig
from benchmarks.shapes.task import Embedding
from models.export.packed import export_packed
from models.export.packing import Padding, pack_rows
from models.export.rows import pad_rows
from models.networks import TextClassifier, TextClassifierConfig
from models.registry import MODELS, RegisteredModel
from server.manifest import TextCodecSpec
from server.packed import can_be_packed
from server.runtime.session import Session
from tests.support.checkpoints import open_every_gate

TOLERANCE = 1e-4
TEXT = TextClassifierConfig.tiny()
PACKABLE = ("areas",)
"""Of the registered models; `tests/unit/models/export/test_packed.py` holds the list against the registry."""
EMBEDDER = EmbedderConfig(d_model=8, num_heads=2, num_layers=2, d_ff=16, vocab_size=32, max_len=64)
AREAS = MODELS["areas"].task

NETWORKS = {
    **{name: (MODELS[name].task, MODELS[name].tiny) for name in PACKABLE if isinstance(MODELS[name], RegisteredModel)},
    "mean, sinusoidal, pre-norm": (AREAS, replace(TEXT, pooling="mean")),
    "attention, learned, post-norm": (
        AREAS,
        replace(TEXT, pooling="attention", positions="learned", norm_first=False, bag_residual=False),
    ),
    "embedder": (Embedding(), EMBEDDER),
    "embedder with maps, one head": (Embedding(), replace(EMBEDDER, maps=True, num_heads=1)),
}

ROWS = st.lists(st.lists(st.booleans(), min_size=1, max_size=40), min_size=1, max_size=7)
PADDING = st.builds(Padding, tokens=st.integers(0, 40), rows=st.integers(0, 5), places=st.integers(0, 9))


@pytest.fixture(scope="module", params=NETWORKS.values(), ids=NETWORKS.keys())
def exported(request, tmp_path_factory):
    """The network, its task, its signature, and a session for each packed graph."""
    task, config = request.param
    torch.manual_seed(0)
    network = open_every_gate(task.build(config)).eval()
    signature = task.signature(config, TextCodecSpec(max_length=config.max_len) if task is AREAS else None)
    directory = tmp_path_factory.mktemp("packed")
    graphs = tuple(export_packed(network, task.flatten, signature, directory))
    sessions = [(graph.layout, Session.open(directory / graph.file)) for graph in graphs]
    yield network, task, signature, sessions
    for _, session in sessions:
        session.close()


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(masks=ROWS, padding=PADDING, seed=st.integers(0, 99))
def test_packed_rows_get_what_the_network_gives_them_in_a_padded_batch(exported, masks, padding, seed):
    network, task, signature, sessions = exported
    rng = np.random.default_rng(seed)
    mask_name = next(spec.name for spec in signature.inputs if spec.role == "mask")
    rows = [{"input_ids": rng.integers(0, 32, size=(1, len(mask))), mask_name: np.array([mask])} for mask in masks]
    nothing = {"input_ids": np.zeros((1, 1), dtype=np.int64), mask_name: np.zeros((1, 1), dtype=np.bool_)}
    batch = pad_rows([*rows, *[nothing] * padding.rows], signature.inputs)
    with torch.inference_mode():
        flat = task.flatten(network(**{name: torch.from_numpy(array) for name, array in batch.items()}))
    expected = flat[0].numpy()
    for layout, session in sessions:
        answered = session.run(pack_rows(rows, signature.inputs, layout, padding))
        assert list(answered) == [signature.outputs[0].name]
        np.testing.assert_allclose(answered[signature.outputs[0].name], expected, atol=TOLERANCE, err_msg=layout)


def test_row_gets_the_same_answer_alone_and_in_a_crowd(exported):
    _, _, signature, sessions = exported
    rng = np.random.default_rng(0)
    mask_name = next(spec.name for spec in signature.inputs if spec.role == "mask")
    rows = [
        {"input_ids": rng.integers(0, 32, size=(1, length)), mask_name: np.ones((1, length), dtype=np.bool_)}
        for length in (17, 1, 64, 9, 33)
    ]
    for layout, session in sessions:
        (crowd,) = session.run(pack_rows(rows, signature.inputs, layout)).values()
        for row, answer in zip(rows, crowd, strict=True):
            (alone,) = session.run(pack_rows([row], signature.inputs, layout)).values()
            np.testing.assert_allclose(answer, alone[0], atol=TOLERANCE)
        assert len(np.unique(crowd.round(5), axis=0)) == len(rows)


def test_every_network_that_may_be_packed_is_tried_here():
    assert {type(task.build(config)) for task, config in NETWORKS.values()} == {TextClassifier, Embedder}
    for name, registered in MODELS.items():
        config = getattr(registered, "tiny", registered.config)
        codec = TextCodecSpec(max_length=64) if isinstance(registered.task, type(AREAS)) else None
        signature = registered.task.signature(config, codec)
        at_once = signature.generation is None
        assert (at_once and can_be_packed(signature.inputs, signature.outputs)) == (name in PACKABLE)

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from models.export.cached_attention import DECOMPOSITIONS, NODE
from models.export.face import Face, FaceInput
from models.export.trace import write_graph
from models.networks.cached_attention import attend_cached, attend_cached_with_maps, places
from server.runtime.binding import BoundRun
from server.runtime.session import Session
from server.tensors import Datatype

HEADS, WIDTH, CAPACITY = 2, 8, 12
STALE = 3e8


class Attend(nn.Module):
    """The operator with what it needs from `lengths`."""

    def __init__(self, maps):
        super().__init__()
        self.maps = maps

    def forward(self, projected, lengths, key, value):
        attend = attend_cached_with_maps if self.maps else attend_cached
        return tuple(attend(projected, key, value, places(lengths, projected.shape[1]), HEADS))


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "maps"])
def exported(request, tmp_path_factory):
    """The module, and a session on its graph, traced at sizes that no test runs."""
    maps = request.param
    path = tmp_path_factory.mktemp("graph") / "step.onnx"
    rows, new, capacity = (torch.export.Dim(name, min=1) for name in ("rows", "new", "capacity"))
    example = (
        torch.zeros(2, 3, 3 * HEADS * WIDTH),
        torch.zeros(2, dtype=torch.int32),
        torch.zeros(2, HEADS, 7, WIDTH),
        torch.zeros(2, HEADS, 7, WIDTH),
    )
    dynamic = ({0: rows, 1: new}, {0: rows}, {0: rows, 2: capacity}, {0: rows, 2: capacity})
    varying = ({0: "rows", 1: "new"}, {0: "rows"}, {0: "rows", 2: "capacity"}, {0: "rows", 2: "capacity"})
    types = (Datatype.FP32, Datatype.INT32, Datatype.FP32, Datatype.FP32)
    names = ("projected", "lengths", "key", "value")
    outputs = ("context", "next_key", "next_value", *(("weights",) if maps else ()))
    face = Face(
        tuple(FaceInput(*parts) for parts in zip(names, types, varying, strict=True)),
        tuple((name, Datatype.FP32) for name in outputs),
    )
    module = Attend(maps)
    write_graph(module, example, dynamic, face, path, None, decompositions=DECOMPOSITIONS)
    session = Session.open(path)
    yield module, session, path
    session.close()


def run(session, inputs, maps):
    """In place: past and present are the same memory."""
    outputs = {"context": None, "next_key": inputs["key"], "next_value": inputs["value"]}
    return BoundRun(session, inputs, outputs | ({"weights": None} if maps else {})).run()


def random_inputs(seed, lengths, new):
    rng = np.random.default_rng(seed)
    rows = len(lengths)
    buffers = [rng.normal(size=(rows, HEADS, CAPACITY, WIDTH)).astype(np.float32) for _ in range(2)]
    for buffer in buffers:
        for row, held in enumerate(lengths):
            buffer[row, :, held:] = STALE
    projected = rng.normal(size=(rows, new, 3 * HEADS * WIDTH)).astype(np.float32)
    names = ("projected", "lengths", "key", "value")
    return dict(zip(names, (projected, np.array(lengths, np.int32), *buffers), strict=True))


@pytest.mark.parametrize(
    ("lengths", "new"),
    [
        ([0], 1),
        ([0, 5, 9], 1),
        ([3, 3, 3, 3], 1),
        ([11], 1),
        ([0], 4),
        ([5], 4),
        ([2], 10),
    ],
)
def test_node_answers_as_the_operator_with_past_and_present_in_one_buffer(exported, lengths, new):
    module, session, _ = exported
    inputs = random_inputs(sum(lengths) + new, lengths, new)
    with torch.inference_mode():
        expected = [tensor.numpy() for tensor in module(*(torch.from_numpy(array.copy()) for array in inputs.values()))]
    answered = run(session, inputs, module.maps)
    np.testing.assert_allclose(answered["context"], expected[0], atol=1e-5)
    for name, buffer in (("key", expected[1]), ("value", expected[2])):
        for row, held in enumerate(lengths):
            np.testing.assert_array_equal(inputs[name][row, :, : held + new], buffer[row, :, : held + new])
    if module.maps:
        for row, held in enumerate(lengths):
            kept = np.s_[row, :, :, : held + new]
            np.testing.assert_allclose(answered["weights"][kept], expected[3][kept], atol=1e-6)


def test_graph_is_one_node_and_copies_no_buffer(exported):
    _, _, path = exported
    nodes = [node for node in onnx.load(path).graph.node if node.domain or "key" in node.input or "value" in node.input]
    assert [f"{node.domain}::{node.op_type}" for node in nodes] == [NODE]

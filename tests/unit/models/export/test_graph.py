from dataclasses import replace
from pathlib import Path

import onnx
import pytest
import torch
from torch import nn

from models.attention import SlidingWindowAttention
from models.export.example import EXAMPLE_LENGTH
from models.export.failure import GraphInvalid
from models.export.graph import GRAPH_FILE, export_graph
from models.export.trace import OPSET
from models.tasks.task import Signature
from server.manifest import FixedAxis, InputSpec, LengthAxis, OutputSpec, RowAxis
from server.runtime.session import Session
from server.tensors import Datatype

ROW, LENGTH, WIDTH = RowAxis(), LengthAxis(), FixedAxis(size=4)


class Gate(nn.Module):
    """Two inputs of one length, two outputs; named so that a swap of either would show."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, values, mask):
        return {"gated": self.linear(values) * mask.unsqueeze(-1), "kept": mask.sum(dim=1)}


def flatten(output):
    return output["gated"], output["kept"]


def signature(gated="gated"):
    return Signature(
        # Not in the order of forward's arguments: they are matched by name.
        inputs=(
            InputSpec(name="mask", datatype=Datatype.BOOL, axes=(ROW, LENGTH), role="mask"),
            InputSpec(name="values", datatype=Datatype.FP32, axes=(ROW, LENGTH, WIDTH)),
        ),
        outputs=(
            OutputSpec(name=gated, datatype=Datatype.FP32, axes=(ROW, LENGTH, WIDTH)),
            OutputSpec(name="kept", datatype=Datatype.INT64, axes=(ROW,)),
        ),
    )


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    torch.manual_seed(0)
    directory = tmp_path_factory.mktemp("graph")
    network = Gate()
    return network, directory, export_graph(network, flatten, signature(), directory)


def test_graph_answers_like_the_network_at_other_sizes(exported):
    network, directory, _ = exported
    session = Session.open(directory / GRAPH_FILE)
    for rows, length in ((1, 1), (5, 3), (3, 50)):
        values, mask = torch.randn(rows, length, 4), torch.rand(rows, length) < 0.5
        gated, kept = flatten(network(values, mask))
        answered = session.run({"values": values.numpy(), "mask": mask.numpy()})
        assert torch.allclose(torch.from_numpy(answered["gated"]), gated, atol=1e-6)
        assert answered["kept"].tolist() == kept.tolist()


def test_graph_is_described_as_it_is(exported):
    _, directory, spec = exported
    assert (spec.file, spec.opset, spec.maps) == (GRAPH_FILE, OPSET, False)
    assert onnx.load(directory / GRAPH_FILE).opset_import[0].version == OPSET


def test_graph_tells_nothing_of_the_machine_that_made_it(exported):
    content = (exported[1] / GRAPH_FILE).read_bytes()
    for trace in (
        b"site-packages",
        b".py",
        b"stack_trace",
        b"namespace",
        str(Path.cwd()).encode(),
        str(Path.home()).encode(),
    ):
        assert trace not in content


def test_small_weights_are_in_the_graph(exported):
    assert [path.name for path in exported[1].iterdir()] == [GRAPH_FILE]


def test_export_says_nothing_and_leaves_the_network_in_evaluation_mode(tmp_path, capfd):
    network = Gate().train()
    export_graph(network, flatten, signature(), tmp_path)
    assert capfd.readouterr() == ("", "")
    assert not network.training


def test_output_named_like_an_inner_value_is_still_the_output(exported, tmp_path):
    inner = [name for node in onnx.load(exported[1] / GRAPH_FILE).graph.node for name in node.output]
    assert "linear" in inner
    network = Gate()
    export_graph(network, flatten, signature(gated="linear"), tmp_path)
    values, mask = torch.randn(3, 5, 4), torch.rand(3, 5) < 0.5
    answered = Session.open(tmp_path / GRAPH_FILE).run({"values": values.numpy(), "mask": mask.numpy()})
    assert torch.allclose(torch.from_numpy(answered["linear"]), flatten(network(values, mask))[0], atol=1e-6)


def test_a_network_that_does_something_else_at_the_traced_length_is_refused(tmp_path):
    class Doubling(nn.Module):
        def forward(self, values, mask):
            doubled = values * 2 if values.shape[1] == EXAMPLE_LENGTH else values
            return {"gated": doubled * mask.unsqueeze(-1), "kept": mask.sum(dim=1)}

    with pytest.raises(GraphInvalid, match=f"always {EXAMPLE_LENGTH}, but the signature says that it is a length axis"):
        export_graph(Doubling(), flatten, signature(), tmp_path)


def test_a_signature_may_ask_for_a_length_to_be_traced_at(tmp_path):
    class Chunked(nn.Module):
        """Attention in chunks of ten: at the usual length there is but one."""

        def __init__(self):
            super().__init__()
            self.attention = SlidingWindowAttention(10)

        def forward(self, values, mask):
            context = self.attention(values, values, values, mask.unsqueeze(-2)).context
            return {"gated": context, "kept": mask.sum(dim=1)}

    network = Chunked()
    with pytest.raises(GraphInvalid, match=f"is always {EXAMPLE_LENGTH}"):
        export_graph(network, flatten, signature(), tmp_path)
    export_graph(network, flatten, replace(signature(), example_length=11), tmp_path)
    session = Session.open(tmp_path / GRAPH_FILE)
    for length in (1, 7, 10, 25):
        values, mask = torch.randn(2, length, 4), torch.ones(2, length, dtype=torch.bool)
        answered = session.run({"values": values.numpy(), "mask": mask.numpy()})
        expected = flatten(network(values, mask))[0]
        assert torch.allclose(torch.from_numpy(answered["gated"]), expected, atol=1e-6)

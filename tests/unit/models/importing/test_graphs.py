"""The encode and the step graph, made of real exports and of exports that were changed."""

import numpy as np
import onnx
import onnx_ir
import pytest
from onnx import helper

from models.importing.encode_graph import encode_graph, fold_unknown
from models.importing.failure import ImportRefused
from models.importing.folder import read_export
from models.importing.onnx_graph import read_graph
from models.importing.states import sources_of, states_of
from models.importing.step_graph import shape_step, token_input
from server.errors import ArtifactCorrupt
from server.runtime.session import Session


def compose(folder):
    """(encode, step, states), as a candidate is made."""
    export = read_export(folder)
    step = read_graph(export.with_past)
    states = states_of(step.graph, token_input(step.graph))
    shape_step(step, states)
    return encode_graph(export, sources_of(states)), step, states


def change(path, edit):
    model = onnx.load(path)
    edit(model.graph)
    onnx.save(model, path)


def session_of(model, path):
    onnx_ir.save(model, path)
    return Session.open(path)


@pytest.mark.parametrize("name", ["marian", "t5"])
def test_encode_graph_gives_what_the_decoder_makes_of_the_source(name, request, tmp_path):
    folder = request.getfixturevalue(name)
    encode, _, states = compose(folder)
    source = {"input_ids": np.array([[5, 9, 7], [4, 8, 0]]), "attention_mask": np.array([[1, 1, 1], [1, 1, 0]])}
    made = session_of(encode, tmp_path / "encode.onnx").run(source)
    hidden = Session.open(folder / "encoder_model.onnx").run(source)["last_hidden_state"]
    decoder = Session.open(folder / "decoder_model.onnx")
    feed = {"input_ids": np.zeros((2, 1), np.int64), "encoder_hidden_states": hidden}
    expected = decoder.run(feed | {"encoder_attention_mask": source["attention_mask"]})
    assert tuple(made) == sources_of(states)
    np.testing.assert_array_equal(made.pop("encoder_attention_mask"), source["attention_mask"])
    for output, array in made.items():
        np.testing.assert_allclose(array, expected[output], atol=1e-5)


@pytest.mark.parametrize("name", ["marian", "t5"])
def test_encode_graph_runs_no_layer_of_the_decoder(name, request):
    encode, _, _ = compose(request.getfixturevalue(name))
    of_decoder = {node.op_type for node in encode.graph if (node.name or "").startswith("cross_attention/")}
    assert "MatMul" in of_decoder
    assert not of_decoder & {"Softmax", "LayerNormalization", "Relu"}


@pytest.mark.parametrize("name", ["marian", "t5"])
def test_step_graph_begins_with_nothing_and_appends(name, request, tmp_path):
    encode, step, states = compose(request.getfixturevalue(name))
    assert {state.kind for state in states} == {"append", "constant"}
    assert not any(state.aliasable or state.length_input for state in states)
    start = session_of(encode, tmp_path / "encode.onnx").run(
        {"input_ids": np.array([[5, 9, 0]]), "attention_mask": np.ones((1, 3), np.int64)}
    )
    feed = {
        state.name: start[state.source] if state.source else np.zeros((1, 2, 0, state.axes[3].size), np.float32)
        for state in states
    }
    answer = session_of(step, tmp_path / "step.onnx").run({"tokens": np.array([[3]]), **feed})
    assert list(answer) == ["logits", *(state.output for state in states if state.output)]
    assert answer["logits"].ndim == 2
    assert {array.shape[2] for name, array in answer.items() if name != "logits"} == {1}


def test_unknown_words_are_read_as_the_unknown_one(t5, tmp_path):
    encode, _, _ = compose(t5)
    plain = session_of(encode, tmp_path / "plain.onnx")
    fold_unknown(encode, 40, 2)
    folding = session_of(encode, tmp_path / "folding.onnx")
    mask = np.ones((1, 4), np.int64)
    seen = folding.run({"input_ids": np.array([[5, 40, 39, 1000]]), "attention_mask": mask})
    expected = plain.run({"input_ids": np.array([[5, 2, 39, 2]]), "attention_mask": mask})
    for name, array in expected.items():
        np.testing.assert_array_equal(seen[name], array)


def test_hidden_states_that_steps_read_are_a_constant_state(t5, tmp_path):
    def read_hidden(graph):
        graph.input.append(
            helper.make_tensor_value_info("encoder_hidden_states", onnx.TensorProto.FLOAT, ["batch", "source", 16])
        )

    change(t5 / "decoder_with_past_model.onnx", read_hidden)
    encode, _, states = compose(t5)
    (state,) = (state for state in states if state.name == "encoder_hidden_states")
    assert (state.kind, state.source) == ("constant", "last_hidden_state")
    assert "last_hidden_state" in {output.name for output in session_of(encode, tmp_path / "encode.onnx").outputs}


def test_first_tokens_that_keys_depend_on_are_made_up(t5, tmp_path):
    def depend(graph):
        """Counts the rows in a way that is not known: by the size of what is left of the first tokens."""
        (keys,) = (node for node in graph.node if "present.0.encoder.key" in node.output)
        keys.output[0] = "keys"
        graph.initializer.append(helper.make_tensor("nought", onnx.TensorProto.FLOAT, [], [0.0]))
        graph.node.extend(
            [
                helper.make_node("Cast", ["input_ids"], ["ids"], to=onnx.TensorProto.FLOAT),
                helper.make_node("ReduceMax", ["ids"], ["largest"], keepdims=0),
                helper.make_node("Mul", ["largest", "nought"], ["nothing"]),
                helper.make_node("Add", ["keys", "nothing"], ["present.0.encoder.key"]),
            ]
        )

    before, _, _ = compose(t5)
    change(t5 / "decoder_model.onnx", depend)
    after, _, _ = compose(t5)
    source = {"input_ids": np.array([[5, 9], [4, 8]]), "attention_mask": np.ones((2, 2), np.int64)}
    expected = session_of(before, tmp_path / "before.onnx").run(source)
    for name, array in session_of(after, tmp_path / "after.onnx").run(source).items():
        np.testing.assert_array_equal(array, expected[name])


def rename_input(path, old, new):
    def edit(graph):
        for value in graph.input:
            if value.name == old:
                value.name = new
        for node in graph.node:
            node.input[:] = [new if name == old else name for name in node.input]

    change(path, edit)


@pytest.mark.parametrize(
    ("file", "old", "new", "reason"),
    [
        ("encoder_model.onnx", "input_ids", "input_features", "only encoders of text"),
        ("decoder_with_past_model.onnx", "input_ids", "ids", "no input input_ids"),
        ("decoder_with_past_model.onnx", "encoder_attention_mask", "position_ids", "not known how to feed"),
        ("decoder_with_past_model.onnx", "encoder_attention_mask", "use_cache_branch", "merged decoder"),
        ("decoder_with_past_model.onnx", "past_key_values.0.decoder.key", "past_key_values.9.decoder.key", "present.9"),
        ("decoder_with_past_model.onnx", "past_key_values.0.encoder.key", "past_key_values.9.encoder.key", "present.9"),
        ("decoder_model.onnx", "encoder_hidden_states", "hidden", "does not read encoder_hidden_states"),
    ],
)
def test_graph_with_another_face_is_refused(t5, file, old, new, reason):
    rename_input(t5 / file, old, new)
    with pytest.raises(ImportRefused, match=reason):
        compose(t5)


def test_half_precision_is_refused(t5):
    def halve(graph):
        for value in graph.input:
            if value.name == "past_key_values.0.decoder.key":
                value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT16

    change(t5 / "decoder_with_past_model.onnx", halve)
    with pytest.raises(ImportRefused, match="export in fp32"):
        compose(t5)


def test_keys_of_unknown_width_are_refused(t5):
    def open_up(graph):
        for value in graph.input:
            if value.name == "past_key_values.0.decoder.key":
                value.type.tensor_type.shape.dim[3].dim_param = "width"

    change(t5 / "decoder_with_past_model.onnx", open_up)
    with pytest.raises(ImportRefused, match="no fixed size on axis 3"):
        compose(t5)


def test_decoder_without_logits_is_refused(t5):
    def rename(graph):
        for node in graph.node:
            node.output[:] = ["scores" if name == "logits" else name for name in node.output]
        graph.output[0].name = "scores"

    change(t5 / "decoder_with_past_model.onnx", rename)
    with pytest.raises(ImportRefused, match="gives no logits"):
        compose(t5)


def test_graphs_of_different_opsets_are_refused(t5):
    model = onnx.load(t5 / "encoder_model.onnx")
    model.opset_import[0].version -= 1
    onnx.save(model, t5 / "encoder_model.onnx")
    with pytest.raises(ImportRefused, match="different opsets"):
        compose(t5)


def test_file_that_is_no_graph_is_refused(t5):
    (t5 / "encoder_model.onnx").write_bytes(b"no graph")
    with pytest.raises(ArtifactCorrupt):
        compose(t5)

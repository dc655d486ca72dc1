import numpy as np
import pytest

from models.explain import weights
from models.explain.content import graph_inputs
from models.explain.explanation import Missing, Scores
from models.explain.weights import choose_label, positions, read_layers, read_rollout, read_scores
from server.codecs import Token
from server.errors import AttentionTooLarge, InferenceFailed, ParameterInvalid
from server.manifest import AttentionSpec, CellAxis, FixedAxis, LengthAxis, OutputSpec, RowAxis, TokenAxis
from server.tensors import Datatype
from tests.support.artifacts import signed_manifest

SCORES = Scores(("one", "0", "two"), np.array([0.1, 0.2, 0.7]))


def test_probabilities_are_the_softmax_of_the_logits():
    scores = read_scores(signed_manifest_of_logits("logits"), ("a",), {"logits": np.array([[0.0, np.log(3.0)]])})
    assert scores.labels == ("a", "1")
    assert scores.probabilities == pytest.approx([0.25, 0.75])


def test_probabilities_are_taken_as_they_are():
    scores = read_scores(signed_manifest_of_logits("probabilities"), (), {"logits": np.array([[0.25, 0.75]])})
    assert scores.probabilities == pytest.approx([0.25, 0.75])


def test_model_that_scores_no_labels_or_scores_tokens_says_so():
    assert isinstance(read_scores(signed_manifest_of_logits("data"), (), {}), Missing)
    assert isinstance(read_scores(signed_manifest_of_logits("logits", LengthAxis()), (), {}), Missing)


def test_scores_that_are_not_finite_are_refused():
    with pytest.raises(InferenceFailed, match="not finite"):
        read_scores(signed_manifest_of_logits("logits"), (), {"logits": np.array([[np.nan, 0.0]])})


def signed_manifest_of_logits(role, *between):
    axes = (RowAxis(), *between, FixedAxis(size=2))
    return signed_manifest({}, outputs=(OutputSpec(name="logits", datatype=Datatype.FP32, axes=axes, role=role),))


@pytest.mark.parametrize(("wanted", "index"), [(None, 2), ("one", 0), ("0", 1), ("2", 2)])
def test_label_is_a_name_before_it_is_an_index(wanted, index):
    assert choose_label(SCORES, wanted) == index


@pytest.mark.parametrize("wanted", ["three", "3", "-1", ""])
def test_unknown_label_is_refused_with_those_that_there_are(wanted):
    with pytest.raises(ParameterInvalid, match="the model has one, 0, two"):
        choose_label(SCORES, wanted)


@pytest.fixture
def answered(opened):
    version, content = opened
    return version.manifest, version.run(graph_inputs(version.manifest, content.row))


def test_layers_hold_the_graphs_own_weights_in_its_order(answered):
    manifest, outputs = answered
    (spec,) = manifest.attention
    layers = read_layers(manifest, spec, outputs)
    assert [layer.number for layer in layers] == list(range(len(spec.outputs)))
    for layer, name in zip(layers, spec.outputs, strict=True):
        assert layer.heads == tuple(range(outputs[name].shape[1]))
        assert np.array_equal(layer.weights, outputs[name][0])
        assert layer.weights.sum(axis=-1) == pytest.approx(1.0, abs=1e-5)


def test_only_the_layers_and_heads_asked_for_are_read(answered):
    manifest, outputs = answered
    (spec,) = manifest.attention
    last = len(spec.outputs) - 1
    (layer,) = read_layers(manifest, spec, outputs, layers=[last], heads=[0])
    assert (layer.number, layer.heads) == (last, (0,))
    assert np.array_equal(layer.weights[0], outputs[spec.outputs[last]][0, 0])


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"layers": [9]}, "no layer 9"),
        ({"layers": [-1]}, "no layer -1"),
        ({"layers": [0, 0]}, "layer is named twice"),
        ({"heads": [9]}, "no head 9"),
        ({"heads": [0, 0]}, "head is named twice"),
    ],
)
def test_layers_and_heads_that_do_not_exist_are_refused(answered, chosen, message):
    manifest, outputs = answered
    with pytest.raises(ParameterInvalid, match=message):
        read_layers(manifest, manifest.attention[0], outputs, **chosen)


def test_more_weights_than_a_page_holds_are_refused(answered, monkeypatch):
    manifest, outputs = answered
    monkeypatch.setattr(weights, "MAX_WEIGHTS", 10)
    with pytest.raises(AttentionTooLarge, match="the 10 that can be shown: choose layers and heads"):
        read_layers(manifest, manifest.attention[0], outputs)


def test_weights_that_are_not_finite_are_refused(answered):
    manifest, outputs = answered
    (spec,) = manifest.attention
    with pytest.raises(InferenceFailed, match="not finite"):
        read_layers(manifest, spec, outputs | {spec.outputs[0]: outputs[spec.outputs[0]] * np.nan})


def test_rollout_is_the_product_of_the_layers_with_the_residual(answered):
    manifest, outputs = answered
    (spec,) = manifest.attention
    expected = np.eye(outputs[spec.outputs[0]].shape[-1])
    for name in spec.outputs:
        expected = (0.5 * outputs[name][0].mean(axis=0) + 0.5 * np.eye(len(expected))) @ expected
    assert read_rollout(manifest, spec, outputs) == pytest.approx(expected, abs=1e-5)


def test_cross_attention_has_no_rollout(answered):
    manifest, outputs = answered
    (spec,) = manifest.attention
    cross = AttentionSpec(
        name="cross", mechanism="m", outputs=spec.outputs, query=TokenAxis(length="other"), key=spec.key
    )
    changed = manifest.model_copy(update={"attention": (cross,)})
    rollout = read_rollout(changed, cross, outputs)
    assert isinstance(rollout, Missing)
    assert "self-attention" in rollout.reason


def test_axis_of_another_length_than_the_tokens_is_numbered():
    tokens = (Token("a", 0, 1), Token("b", 1, 2))
    assert positions(TokenAxis(), 2, tokens) == tokens
    assert [token.text for token in positions(TokenAxis(), 3, tokens)] == ["0", "1", "2"]
    cells = CellAxis(rows=1, columns=2)
    assert positions(cells, 2, tokens) is cells

import numpy as np
import pytest
from attendant.attention import Attention, AttentionMap, Cells, Token, Tokens, attention_request, parse_attention
from attendant.errors import ServerError
from attendant.v1 import attention_pb2
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

CELLS = attention_pb2.AxisLabels(cells=attention_pb2.Cells(rows=1, columns=3))


def message(weights: np.ndarray, **fields) -> attention_pb2.AttentionMap:
    return attention_pb2.AttentionMap(
        name="encoder", shape=weights.shape, weights=weights.astype("<f4").tobytes(), **fields
    )


def sparse(weights: np.ndarray, top_k: int) -> attention_pb2.AttentionMap:
    """The map as the server sends it for `top_k`, over as many plain tokens as there are keys."""
    indices = np.argsort(-weights, axis=-1, kind="stable")[..., :top_k]
    labels = attention_pb2.AxisLabels(tokens=attention_pb2.Tokens(tokens=[{"text": "t"}] * weights.shape[-1]))
    chosen = np.take_along_axis(weights, indices, axis=-1)
    return message(chosen, key_indices=indices.astype("<u4").tobytes(), key=labels)


def test_no_attention_wanted_sends_no_message():
    assert attention_request(None) is None
    assert attention_request(False) is None


def test_true_asks_for_one_mean_map():
    assert attention_request(True) == attention_pb2.AttentionRequest(reduction=attention_pb2.REDUCTION_MEAN)


def test_every_choice_is_sent():
    wanted = Attention(names=["cross"], layers=[0, 2], heads=[1], reduction="mean_heads", top_k=5)
    assert attention_request(wanted) == attention_pb2.AttentionRequest(
        names=["cross"], layers=[0, 2], heads=[1], reduction=attention_pb2.REDUCTION_MEAN_HEADS, top_k=5
    )


def test_unknown_reduction_is_refused_with_the_choices():
    with pytest.raises(ValueError, match="rollout"):
        attention_request(Attention(reduction="median"))


def test_unreduced_map_keeps_layers_heads_and_labels():
    weights = np.random.default_rng(0).random((2, 3, 2, 2), np.float32)
    tokens = attention_pb2.AxisLabels(
        tokens=attention_pb2.Tokens(tokens=[{"text": "[CLS]"}, {"text": "naïve", "start": 1, "end": 6, "segment": 1}])
    )
    parsed = parse_attention(message(weights, layers=[0, 5], heads=[0, 1, 2], query=tokens, key=tokens))
    assert (parsed.name, parsed.reduction, parsed.layers, parsed.heads) == ("encoder", "none", (0, 5), (0, 1, 2))
    assert parsed.query == Tokens((Token("[CLS]", 0, 0), Token("naïve", 1, 6, 1)))
    assert parsed.weights.dtype == np.float32
    np.testing.assert_array_equal(parsed.weights, weights)
    np.testing.assert_array_equal(parsed.dense(), weights)


def test_image_weights_lie_on_the_grid_without_the_leading_position():
    keys = np.arange(7, dtype=np.float32)
    labels = attention_pb2.AxisLabels(cells=attention_pb2.Cells(rows=2, columns=3, leading=1))
    parsed = parse_attention(message(np.stack([keys, keys + 2]), key=labels))
    assert parsed.key == Cells(2, 3, 1)
    np.testing.assert_array_equal(parsed.cell_weights(), [[2, 3, 4], [5, 6, 7]])


def test_cell_weights_of_text_are_refused():
    with pytest.raises(ValueError, match="encoder"):
        parse_attention(sparse(np.ones((1, 2), np.float32), 2)).cell_weights()


@given(
    arrays(np.float32, st.tuples(*[st.integers(1, 4)] * 3), elements=st.floats(0, 1, width=32)),
    st.integers(1, 5),
)
def test_dense_of_a_top_k_map_holds_the_largest_weights_and_zeros(weights, top_k):
    parsed = parse_attention(sparse(weights, top_k))
    dense = parsed.dense()
    assert dense.shape == weights.shape
    np.testing.assert_array_equal(dense[dense > 0], weights[dense > 0])
    np.testing.assert_array_equal(np.sort(dense)[..., -top_k:], np.sort(weights)[..., -top_k:])
    assert (np.count_nonzero(dense, axis=-1) <= top_k).all()


def test_top_k_without_labels_ends_at_the_last_chosen_key():
    indices = np.array([[2, 0]], "<u4")
    parsed = parse_attention(message(np.array([[0.5, 0.25]]), key_indices=indices.tobytes()))
    np.testing.assert_array_equal(parsed.dense(), [[0.25, 0, 0.5]])


def test_key_weights_average_over_every_other_axis():
    weights = np.random.default_rng(1).random((2, 3, 4, 5), np.float32)
    attention = AttentionMap("encoder", "none", (0, 1), (0, 1, 2), None, None, weights)
    np.testing.assert_allclose(attention.key_weights(), weights.mean(axis=(0, 1, 2)), rtol=1e-6)


@pytest.mark.parametrize(
    "wrong",
    [
        attention_pb2.AttentionMap(name="m", shape=[2, 2], weights=bytes(12)),
        attention_pb2.AttentionMap(name="m", shape=[], weights=bytes(4)),
        attention_pb2.AttentionMap(name="m", shape=[1, 1], weights=bytes(4), key_indices=bytes(8)),
        attention_pb2.AttentionMap(name="m", shape=[2**31, 2**31, 2**31], weights=b""),
        attention_pb2.AttentionMap(name="m", shape=[1, 2], weights=bytes(8), query=CELLS),
        attention_pb2.AttentionMap(name="m", shape=[3, 2], weights=bytes(24), key=CELLS),
        attention_pb2.AttentionMap(
            name="m",
            shape=[1, 1],
            weights=bytes(4),
            key_indices=np.array([3], "<u4").tobytes(),
            key=CELLS,
        ),
    ],
)
def test_map_that_contradicts_itself_is_the_servers_error(wrong):
    with pytest.raises(ServerError, match="'m'"):
        parse_attention(wrong)

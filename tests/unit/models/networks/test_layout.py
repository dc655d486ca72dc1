from dataclasses import replace
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.attention import AttentionPooling
from models.networks import TextClassifier, TextClassifierConfig
from models.networks.layout import PACKED, BlockDiagonal, Gathered, Packable, Rows, masked_mean
from models.networks.text_classifier import POOLINGS, POSITIONS
from server.packed import PACKED_LAYOUTS
from tests.support.packed import packed_tensors, rows_of

TINY = TextClassifierConfig.tiny()
CONFIGS = [
    replace(TINY, pooling=pooling, positions=positions, norm_first=norm_first, bag_residual=bag)
    for (pooling, positions), (norm_first, bag) in zip(
        product(POOLINGS, POSITIONS), [(True, True), (False, False), (True, False)] * 2, strict=True
    )
]
either_layout = pytest.mark.parametrize("layout", PACKED_LAYOUTS)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: f"{config.pooling}, {config.positions}")
@either_layout
@settings(max_examples=8, deadline=None)
@given(
    masks=st.lists(st.lists(st.booleans(), min_size=1, max_size=9), min_size=1, max_size=5), padding=st.integers(0, 3)
)
def test_packed_rows_get_what_each_gets_alone(config, layout, masks, padding):
    network = TextClassifier(config).eval()
    rows = rows_of(masks, config.vocab_size)
    data, places = packed_tensors(rows, layout, padding)
    with torch.no_grad():
        answered = network.over(PACKED[layout](*places), data).logits
        expected = torch.cat([network(ids, mask).logits for ids, mask in rows])
        nothing = network(torch.zeros(1, 1, dtype=torch.int64), torch.zeros(1, 1, dtype=torch.bool)).logits
    torch.testing.assert_close(answered[: len(rows)], expected)
    torch.testing.assert_close(answered[len(rows) :], nothing.expand(padding, -1))


@either_layout
def test_weights_never_reach_into_another_row(layout):
    network = TextClassifier(TINY).eval()
    data, places = packed_tensors(rows_of([[True] * 3, [True] * 2], TINY.vocab_size), layout, 2)
    for weights in network.over(PACKED[layout](*places), data).attention:
        if layout == "gathered":
            assert (weights[1, :, :, 2:] == 0).all()
            torch.testing.assert_close(weights[:2].sum(-1), torch.ones_like(weights[:2, ..., 0]))
        else:
            own = torch.block_diag(torch.ones(3, 3), torch.ones(2, 2), torch.ones(2, 2)).bool()
            assert (weights[:, ~own] == 0).all()
            assert (weights[:, own] > 0).all()


@either_layout
def test_gradient_through_packed_rows_equals_that_through_padded_ones(layout):
    network = TextClassifier(TINY).eval()
    rows = rows_of([[True] * 4, [True] * 4], TINY.vocab_size)
    data, places = packed_tensors(rows, layout, 0)

    def gradient(logits):
        network.zero_grad()
        logits.square().sum().backward()
        return {name: parameter.grad.clone() for name, parameter in network.named_parameters()}

    padded = torch.cat([ids for ids, _ in rows]), torch.cat([mask for _, mask in rows])
    expected = gradient(network(*padded).logits)
    for name, grad in gradient(network.over(PACKED[layout](*places), data).logits).items():
        torch.testing.assert_close(grad, expected[name], msg=name)


@either_layout
def test_window_is_refused_in_packed_layouts(layout):
    network = TextClassifier(replace(TINY, window=2)).eval()
    data, places = packed_tensors(rows_of([[True] * 3], TINY.vocab_size), layout, 0)
    assert isinstance(network, Packable)
    assert not network.packable
    with pytest.raises(ValueError, match="packed rows cannot run through SlidingWindowAttention"):
        network.over(PACKED[layout](*places), data)


def test_all_layouts_sum_up_a_row_alike():
    vectors, mask = torch.randn(2, 3, 4), torch.tensor([[True, True, True], [True, False, False]])
    pooling, flat = AttentionPooling(4), vectors[mask]
    layouts = [
        BlockDiagonal(torch.tensor([0, 1, 2, 0]), torch.tensor([0, 0, 0, 1]), torch.arange(2)),
        Gathered(torch.tensor([0, 1, 2, 0]), torch.tensor([[0, 1, 2], [3, 0, 0]]), mask, torch.tensor([0, 1, 2, 3])),
    ]
    for layout in layouts:
        torch.testing.assert_close(layout.mean(flat), Rows(mask).mean(vectors))
        torch.testing.assert_close(layout.pool(pooling, flat), Rows(mask).pool(pooling, vectors))


@given(masks=st.lists(st.lists(st.booleans(), min_size=4, max_size=4), min_size=1, max_size=4))
def test_the_real_tokens_of_padded_rows_come_back_to_where_they_stood(masks):
    mask = torch.tensor(masks)
    vectors = torch.randn(*mask.shape, 3)
    layout = Gathered.from_mask(mask)
    packed = vectors.flatten(0, 1).index_select(0, layout.scatter)
    assert len(packed) == int(mask.sum()) + 1
    torch.testing.assert_close(layout.in_rows(packed)[mask], vectors[mask])
    assert layout.positions[1:].tolist() == [place for row in masks for place, real in enumerate(row) if real]


def test_masked_mean_counts_only_what_is_present():
    vectors = torch.tensor([[[1.0], [3.0], [100.0]], [[5.0], [5.0], [5.0]]])
    mask = torch.tensor([[True, True, False], [False, False, False]])
    assert masked_mean(vectors, mask).tolist() == [[2.0], [0.0]]

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.attention import causal_mask, combine_masks, masked_softmax, padding_mask


def test_padding_mask_has_axes_for_heads_and_queries():
    present = torch.tensor([[True, True, False], [True, False, False]])
    mask = padding_mask(present)
    assert mask.shape == (2, 1, 1, 3)
    assert torch.equal(mask[:, 0, 0], present)


@pytest.mark.parametrize("present", [torch.ones(2, 3), torch.ones(3, dtype=torch.bool)], ids=["float", "one axis"])
def test_padding_mask_refuses_what_is_not_a_bool_matrix(present):
    with pytest.raises(ValueError, match=r"bool of shape \(B,S\)"):
        padding_mask(present)


def test_causal_mask_lets_each_position_see_itself_and_the_past():
    assert causal_mask(3).shape == (1, 1, 3, 3)
    assert causal_mask(3)[0, 0].tolist() == [[True, False, False], [True, True, False], [True, True, True]]


def test_causal_mask_over_a_longer_source_aligns_the_last_positions():
    assert causal_mask(2, 4)[0, 0].tolist() == [[True, True, True, False], [True, True, True, True]]


def test_combined_masks_allow_what_all_allow():
    padding = padding_mask(torch.tensor([[True, True, False]]))
    combined = combine_masks(None, padding, causal_mask(3))
    assert combined is not None
    assert combined[0, 0].tolist() == [[True, False, False], [True, True, False], [True, True, False]]


def test_combining_no_masks_is_no_mask():
    assert combine_masks(None, None) is None
    assert combine_masks() is None


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 3), st.integers(1, 4), st.integers(0, 6))
def test_rows_sum_to_one_or_to_zero_and_masked_keys_get_exactly_zero(seed, batch, target, source):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(batch, target, source, generator=generator) * 10
    mask = torch.rand(batch, target, source, generator=generator) < 0.5
    weights = masked_softmax(scores, mask)
    assert (weights[~mask] == 0).all()
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum(-1), mask.any(-1).float())


def test_masked_weights_are_the_softmax_of_the_allowed_scores_alone():
    scores = torch.tensor([[1.0, 50.0, 2.0, -3.0]])
    weights = masked_softmax(scores, torch.tensor([[True, False, True, True]]))
    torch.testing.assert_close(weights[0, [0, 2, 3]], torch.softmax(scores[0, [0, 2, 3]], -1))


def test_wholly_masked_row_is_zero_forward_and_backward():
    scores = torch.randn(2, 3, requires_grad=True)
    mask = torch.tensor([[False, False, False], [True, True, False]])
    weights = masked_softmax(scores, mask)
    assert weights[0].tolist() == [0.0, 0.0, 0.0]
    (weights * torch.randn(2, 3)).sum().backward()
    assert scores.grad is not None
    assert scores.grad[0].tolist() == [0.0, 0.0, 0.0]
    assert scores.grad[1].isfinite().all()
    assert scores.grad[1, :2].abs().min() > 0


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_masked_score_may_be_anything(bad):
    weights = masked_softmax(torch.tensor([[0.0, bad]]), torch.tensor([[True, False]]))
    assert weights.tolist() == [[1.0, 0.0]]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_mask_as_exactly(dtype):
    scores = torch.tensor([[60_000.0, 60_000.0, 0.0], [1.0, 2.0, 3.0]], dtype=dtype)
    mask = torch.tensor([[True, False, True], [False, False, False]])
    assert masked_softmax(scores, mask).tolist() == [[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]


@pytest.mark.parametrize("shape", [(4,), (2, 3), (2, 2, 4, 3), (1, 1, 1, 4, 3)])
def test_mask_that_does_not_broadcast_to_the_scores_is_refused(shape):
    with pytest.raises(ValueError, match="does not fit scores of shape"):
        masked_softmax(torch.zeros(1, 2, 4, 3), torch.ones(shape, dtype=torch.bool))


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64, torch.uint8])
def test_mask_that_is_not_bool_is_refused(dtype):
    with pytest.raises(ValueError, match="mask must be bool"):
        masked_softmax(torch.zeros(2, 3), torch.ones(2, 3, dtype=dtype))

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.attention import AdditiveAttention, DotAttention, RecurrentPooling

CELLS = ("tanh", "lstm", "gru")
D_INPUT, D_HIDDEN, D_OUTPUT = 3, 4, 2


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def build(cell="gru", combine="concat", bidirectional=False) -> RecurrentPooling:
    width = D_HIDDEN * (1 + bidirectional)
    mechanism = AdditiveAttention(width, width, 5)
    return RecurrentPooling(
        D_INPUT, D_HIDDEN, D_OUTPUT, mechanism, cell=cell, combine=combine, bidirectional=bidirectional
    )


every_form = pytest.mark.parametrize(
    ("cell", "combine", "bidirectional"),
    [(cell, combine, both) for cell in CELLS for combine, both in (("concat", False), ("sum", True))],
)


def test_answer_equals_the_formulas_in_float64():
    pooling = RecurrentPooling(D_INPUT, D_HIDDEN, D_OUTPUT, DotAttention(), cell="tanh").double()
    source = torch.randn(1, 5, D_INPUT, dtype=torch.float64)
    context, weights, fused, outputs = (tensor[0].detach().numpy() for tensor in pooling(source))
    w_x, w_h, b_x, b_h = (parameter.detach().numpy() for parameter in pooling.forwards.rnn.parameters())
    states, hidden = [], np.zeros(D_HIDDEN)
    for element in source[0].numpy():
        hidden = np.tanh(w_h @ hidden + w_x @ element + b_x + b_h)
        states.append(hidden)
    exponentials = np.exp([hidden @ state for state in states])
    expected_weights = exponentials / exponentials.sum()
    expected_context = expected_weights @ np.stack(states)
    expected_fused = np.tanh(pooling.fuse.combine.weight.detach().numpy() @ np.concatenate((expected_context, hidden)))
    read_out = pooling.read_out
    np.testing.assert_allclose(weights, expected_weights, rtol=1e-10)
    np.testing.assert_allclose(context, expected_context, rtol=1e-10)
    np.testing.assert_allclose(fused, expected_fused, rtol=1e-10)
    np.testing.assert_allclose(
        outputs, read_out.weight.detach().numpy() @ expected_fused + read_out.bias.detach().numpy(), rtol=1e-10
    )


@every_form
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), length=st.integers(1, 6))
def test_masked_positions_change_nothing_wherever_they_stand(cell, combine, bidirectional, seed, length):
    torch.manual_seed(seed)
    pooling = build(cell, combine, bidirectional)
    source, mask = torch.randn(1, length, D_INPUT), torch.rand(1, length) < 0.6
    mask[0, 0] = True
    source[~mask] = float("nan")
    whole, alone = pooling(source, mask), pooling(source[mask][None])
    torch.testing.assert_close(whole.weights[mask][None], alone.weights)
    assert (whole.weights[~mask] == 0).all()
    for ours, theirs in zip(whole[:1] + whole[2:], alone[:1] + alone[2:], strict=True):
        torch.testing.assert_close(ours, theirs)


@every_form
def test_rows_of_a_batch_do_not_depend_on_one_another(cell, combine, bidirectional):
    pooling = build(cell, combine, bidirectional)
    source, mask = torch.randn(3, 5, D_INPUT), torch.arange(5) < torch.tensor([[5], [2], [0]])
    together = pooling(source, mask)
    for row in range(3):
        for ours, theirs in zip(together, pooling(source[row : row + 1], mask[row : row + 1]), strict=True):
            torch.testing.assert_close(ours[row : row + 1], theirs)


@every_form
def test_wholly_masked_and_empty_sequences_give_zeros(cell, combine, bidirectional):
    pooling = build(cell, combine, bidirectional)
    masked = pooling(torch.randn(2, 3, D_INPUT), torch.zeros(2, 3, dtype=torch.bool))
    empty = pooling(torch.zeros(2, 0, D_INPUT))
    assert (masked.context == 0).all()
    assert (masked.weights == 0).all()
    assert masked.outputs.isfinite().all()
    assert empty.weights.shape == (2, 0)
    for ours, theirs in zip(masked[:1] + masked[2:], empty[:1] + empty[2:], strict=True):
        torch.testing.assert_close(ours, theirs)


def test_both_directions_are_a_recurrence_each():
    pooling = build(bidirectional=True)
    source = torch.randn(2, 5, D_INPUT)
    forwards, backwards = pooling.forwards(source)[0], pooling.backwards(source.flip(1))[0].flip(1)
    states = torch.cat((forwards, backwards), dim=-1)
    query = torch.cat((forwards[:, -1:], backwards[:, :1]), dim=-1)
    expected = pooling.mechanism(query, states, states)
    context, weights, *_ = pooling(source)
    torch.testing.assert_close(context, expected.context[:, 0])
    torch.testing.assert_close(weights, expected.weights[:, 0])


@every_form
def test_gradient_reaches_all_parameters(cell, combine, bidirectional):
    pooling = build(cell, combine, bidirectional)
    mask = torch.tensor([[True, True, False, True], [False] * 4])
    source = torch.randn(2, 4, D_INPUT, requires_grad=True)
    pooling(source, mask).outputs.square().sum().backward()
    for name, parameter in pooling.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name
    assert source.grad is not None
    assert (source.grad[~mask] == 0).all()


def test_source_of_another_width_is_refused():
    with pytest.raises(ValueError, match="source is 4 wide, expected 3"):
        build()(torch.zeros(2, 5, 4))


@pytest.mark.parametrize("mask", [torch.ones(2, 4, dtype=torch.bool), torch.ones(2, 5)], ids=["length", "float"])
def test_mask_that_does_not_fit_is_refused(mask):
    with pytest.raises(ValueError, match="mask"):
        build()(torch.zeros(2, 5, D_INPUT), mask)

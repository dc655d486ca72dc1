import numpy as np
import pytest
import torch

from models.attention import AdditiveAttention, DotAttention, PointerAttention


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def test_weights_equal_the_formula_in_float64():
    pointer = PointerAttention(AdditiveAttention(4, 3, 6)).double()
    query, key = torch.randn(2, 4, dtype=torch.float64), torch.randn(5, 3, dtype=torch.float64)
    context, weights = pointer(query, key)
    mechanism = pointer.mechanism
    w_1, w_2 = mechanism.project_key.weight.detach().numpy(), mechanism.project_query.weight.detach().numpy()
    v = mechanism.combine.detach().numpy()
    for t in range(2):
        scores = [v @ np.tanh(w_1 @ key[s].numpy() + w_2 @ query[t].numpy()) for s in range(5)]
        expected = np.exp(scores) / np.exp(scores).sum()
        np.testing.assert_allclose(weights[t].detach().numpy(), expected, rtol=1e-12)
        np.testing.assert_allclose(context[t].detach().numpy(), expected @ key.numpy(), rtol=1e-12)


def test_logarithms_are_those_of_the_weights():
    pointer = PointerAttention(AdditiveAttention(4, 3, 6))
    query, key, mask = torch.randn(2, 3, 4), torch.randn(2, 5, 3), torch.rand(2, 3, 5) < 0.6
    mask[1, 2] = False
    torch.testing.assert_close(pointer.log_weights(query, key, mask).exp(), pointer(query, key, mask).weights)
    torch.testing.assert_close(pointer.log_weights(query, key).exp(), pointer(query, key).weights)


def test_a_position_too_improbable_for_a_float_still_has_its_logarithm_and_gradient():
    pointer = PointerAttention(DotAttention())
    query, key = torch.tensor([[200.0]]), torch.tensor([[0.0], [1.0], [7.0]], requires_grad=True)
    mask = torch.tensor([True, True, False])
    assert pointer(query, key, mask).weights[0, 0] == 0
    logarithms = pointer.log_weights(query, key, mask)[0]
    assert logarithms.tolist() == [-200.0, 0.0, float("-inf")]
    logarithms[0].backward()
    assert key.grad is not None
    assert key.grad[:, 0].tolist() == [200.0, -200.0, 0.0]


def test_a_pointer_learns_to_find_the_largest_key():
    pointer = PointerAttention(AdditiveAttention(1, 1, 8))
    optimiser = torch.optim.Adam(pointer.parameters(), lr=0.05)
    query = torch.ones(64, 1, 1)
    for _ in range(150):
        key = torch.rand(64, 6, 1)
        loss = -pointer.log_weights(query, key).gather(-1, key.argmax(1, keepdim=True)).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    key = torch.rand(64, 6, 1)
    found = pointer(query, key).weights.argmax(-1)
    assert (found == key.argmax(1)).float().mean() > 0.9


def test_nothing_to_point_at_gives_zeros():
    pointer = PointerAttention(DotAttention())
    masked = pointer(torch.randn(2, 4), torch.randn(3, 4), torch.zeros(2, 3, dtype=torch.bool))
    assert (masked.weights == 0).all()
    assert (masked.context == 0).all()


def test_mask_that_does_not_fit_is_refused():
    pointer = PointerAttention(DotAttention())
    for call in (pointer, pointer.log_weights):
        with pytest.raises(ValueError, match="does not fit scores"):
            call(torch.zeros(2, 4), torch.zeros(3, 4), torch.ones(2, 4, dtype=torch.bool))


def test_key_of_another_width_is_refused():
    with pytest.raises(ValueError, match="key is 3 wide, expected 4"):
        PointerAttention(DotAttention())(torch.zeros(2, 4), torch.zeros(3, 3))

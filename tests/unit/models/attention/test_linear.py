import numpy as np
import pytest
import torch

from models.attention import LinearAttention


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def draw(*lead, target=4, source=5):
    return torch.randn(*lead, target, 3), torch.randn(*lead, source, 3), torch.randn(*lead, source, 2)


def phi(vector):
    return np.where(vector > 0, vector + 1, np.exp(vector))


def test_equals_the_formula_in_float64():
    inputs = [tensor.double() for tensor in draw()]
    context, weights = LinearAttention()(*inputs)
    query, key, value = (tensor.numpy() for tensor in inputs)
    for t in range(4):
        similarity = np.array([phi(query[t]) @ phi(key[s]) for s in range(5)])
        np.testing.assert_allclose(weights[t].numpy(), similarity / similarity.sum(), rtol=1e-12)
        # Equation 5: the sums over keys are made once, whatever the query.
        numerator = phi(query[t]) @ sum(np.outer(phi(key[s]), value[s]) for s in range(5))
        np.testing.assert_allclose(context[t].numpy(), numerator / (phi(query[t]) @ phi(key).sum(0)), rtol=1e-12)


def test_causal_form_equals_its_recurrence_in_float64():
    inputs = [tensor.double() for tensor in draw(target=5)]
    context = LinearAttention(causal=True)(*inputs).context
    query, key, value = (tensor.numpy() for tensor in inputs)
    state, normaliser = np.zeros((3, 2)), np.zeros(3)
    for t in range(5):  # equations 10 to 12
        state += np.outer(phi(key[t]), value[t])
        normaliser += phi(key[t])
        np.testing.assert_allclose(context[t].numpy(), phi(query[t]) @ state / (phi(query[t]) @ normaliser), rtol=1e-12)


@pytest.mark.parametrize("causal", [False, True], ids=["all keys", "causal"])
@pytest.mark.parametrize(("target", "source"), [(1, 1), (4, 4), (2, 7)])
def test_context_alone_is_the_context_of_the_weights(causal, target, source):
    mechanism = LinearAttention(causal=causal)
    inputs = draw(2, 3, target=target, source=source)
    mask = torch.rand(2, 1, 1, source) < 0.6
    torch.testing.assert_close(mechanism.context_only(*inputs, mask), mechanism(*inputs, mask).context)
    torch.testing.assert_close(mechanism.context_only(*inputs), mechanism(*inputs).context)


@pytest.mark.parametrize("causal", [False, True], ids=["all keys", "causal"])
def test_query_with_no_key_gets_zeros_and_finite_gradients(causal):
    mechanism = LinearAttention(causal=causal)
    mask = torch.tensor([[[True] * 5], [[False] * 5]])
    for compute in (lambda *inputs: mechanism(*inputs).context, mechanism.context_only):
        inputs = [tensor.requires_grad_() for tensor in draw(2, target=5)]
        context = compute(*inputs, mask)
        assert (context[1] == 0).all()
        context.square().sum().backward()
        assert all(tensor.grad.isfinite().all() for tensor in inputs)


def test_no_key_at_all_gives_zero_context():
    inputs = draw(2, source=0)
    assert torch.equal(LinearAttention()(*inputs).context, torch.zeros(2, 4, 2))
    assert torch.equal(LinearAttention().context_only(*inputs), torch.zeros(2, 4, 2))


def test_masked_key_may_be_anything_in_the_linear_form_too():
    query, key, value = draw()
    mask = torch.tensor([True, True, False, True, False])
    spoiled = key.masked_fill(~mask[:, None], float("nan"))
    for compute in (lambda *inputs: LinearAttention()(*inputs).context, LinearAttention().context_only):
        torch.testing.assert_close(compute(query, spoiled, value, mask), compute(query, key, value, mask))


def test_more_causal_queries_than_keys_are_refused_in_the_linear_form():
    with pytest.raises(ValueError, match="6 causal queries need as many keys, not 5"):
        LinearAttention(causal=True).context_only(*draw(target=6))


def test_mask_with_rows_for_queries_is_refused_in_the_linear_form():
    with pytest.raises(ValueError, match="mask must be over keys alone"):
        LinearAttention().context_only(*draw(), torch.ones(4, 5, dtype=torch.bool))


def test_key_of_another_width_is_refused():
    query, key, value = draw()
    with pytest.raises(ValueError, match="key is 2 wide, expected 3"):
        LinearAttention()(query, key[:, :2], value)

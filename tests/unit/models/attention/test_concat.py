import numpy as np
import pytest
import torch

from models.attention import AdditiveAttention, ConcatAttention


def test_weights_equal_the_formula_in_float64():
    torch.manual_seed(0)
    mechanism = ConcatAttention(4, 3, 6).double()
    query, key = torch.randn(2, 4, dtype=torch.float64), torch.randn(5, 3, dtype=torch.float64)
    weights = mechanism(query, key, key).weights.detach().numpy()
    w, v = mechanism.weight.detach().numpy(), mechanism.combine.detach().numpy()
    for t in range(2):
        joined = [np.concatenate([query[t].numpy(), key[s].numpy()]) for s in range(5)]
        exponentials = np.exp([v.dot(np.tanh(w.dot(pair))) for pair in joined])
        np.testing.assert_allclose(weights[t], exponentials / exponentials.sum(), rtol=1e-12)


def test_is_additive_attention_with_its_two_matrices_side_by_side():
    concat, additive = ConcatAttention(4, 3, 6), AdditiveAttention(4, 3, 6)
    with torch.no_grad():
        concat.weight.copy_(torch.cat((additive.project_query.weight, additive.project_key.weight), dim=1))
        concat.combine.copy_(additive.combine)
    query, key = torch.randn(2, 4), torch.randn(5, 3)
    torch.testing.assert_close(concat(query, key, key).weights, additive(query, key, key).weights)


@pytest.mark.parametrize(("wide_query", "wide_key", "wrong"), [(3, 3, "query"), (4, 4, "key")])
def test_input_of_another_width_is_refused(wide_query, wide_key, wrong):
    with pytest.raises(ValueError, match=f"{wrong} is {wide_query if wrong == 'query' else wide_key} wide, expected"):
        ConcatAttention(4, 3, 6)(torch.zeros(2, wide_query), torch.zeros(5, wide_key), torch.zeros(5, 1))

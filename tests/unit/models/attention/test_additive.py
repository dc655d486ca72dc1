import numpy as np
import pytest
import torch

from models.attention import AdditiveAttention


def test_weights_equal_the_formula_in_float64():
    torch.manual_seed(0)
    mechanism = AdditiveAttention(4, 3, 6).double()
    query, key = torch.randn(2, 4, dtype=torch.float64), torch.randn(5, 3, dtype=torch.float64)
    weights = mechanism(query, key, key).weights.detach().numpy()
    w, u = mechanism.project_query.weight.detach().numpy(), mechanism.project_key.weight.detach().numpy()
    v = mechanism.combine.detach().numpy()
    for t in range(2):
        exponentials = np.exp([v.dot(np.tanh(w.dot(query[t].numpy()) + u.dot(key[s].numpy()))) for s in range(5)])
        np.testing.assert_allclose(weights[t], exponentials / exponentials.sum(), rtol=1e-12)


def test_query_of_another_width_is_refused():
    with pytest.raises(ValueError, match="query is 3 wide, expected 4"):
        AdditiveAttention(4, 3, 6)(torch.zeros(2, 3), torch.zeros(5, 3), torch.zeros(5, 1))

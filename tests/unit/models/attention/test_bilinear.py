import numpy as np
import pytest
import torch

from models.attention import BilinearAttention, DotAttention


def test_weights_equal_the_formula_in_float64():
    torch.manual_seed(0)
    mechanism = BilinearAttention(4, 3).double()
    query, key = torch.randn(2, 4, dtype=torch.float64), torch.randn(5, 3, dtype=torch.float64)
    weights = mechanism(query, key, key).weights.detach().numpy()
    matrix = mechanism.weight.detach().numpy()
    for t in range(2):
        exponentials = np.exp([query[t].numpy().dot(matrix).dot(key[s].numpy()) for s in range(5)])
        np.testing.assert_allclose(weights[t], exponentials / exponentials.sum(), rtol=1e-12)


def test_identity_matrix_makes_it_the_dot_score():
    mechanism = BilinearAttention(4, 4)
    torch.nn.init.eye_(mechanism.weight)
    query, key = torch.randn(2, 4), torch.randn(5, 4)
    torch.testing.assert_close(mechanism(query, key, key).context, DotAttention()(query, key, key).context)


def test_query_of_another_width_is_refused():
    with pytest.raises(ValueError, match="query is 3 wide, expected 4"):
        BilinearAttention(4, 3)(torch.zeros(2, 3), torch.zeros(5, 3), torch.zeros(5, 1))

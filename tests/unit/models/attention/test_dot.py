import numpy as np
import torch

from models.attention import DotAttention


def test_weights_equal_the_formula_in_float64():
    torch.manual_seed(0)
    query, key = torch.randn(3, 4, dtype=torch.float64), torch.randn(5, 4, dtype=torch.float64)
    weights = DotAttention()(query, key, key).weights
    for t in range(3):
        exponentials = np.array(
            [np.exp(sum(query[t, k].item() * key[s, k].item() for k in range(4))) for s in range(5)]
        )
        np.testing.assert_allclose(weights[t].numpy(), exponentials / exponentials.sum(), rtol=1e-12)


def test_worked_by_hand():
    # Scores 0 and ln 3, so weights 1/4 and 3/4, and of the values 0 and 8 a mean of 6.
    query = torch.tensor([[1.0, 0.0]])
    key = torch.tensor([[0.0, 7.0], [float(np.log(3)), 0.0]])
    context, weights = DotAttention()(query, key, torch.tensor([[0.0], [8.0]]))
    torch.testing.assert_close(weights, torch.tensor([[0.25, 0.75]]))
    torch.testing.assert_close(context, torch.tensor([[6.0]]))

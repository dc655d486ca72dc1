import numpy as np
import pytest
import torch

from models.attention import LocationAttention


def test_weights_equal_the_formula_in_float64():
    torch.manual_seed(0)
    mechanism = LocationAttention(4, max_len=7).double()
    query, key = torch.randn(2, 4, dtype=torch.float64), torch.randn(5, 3, dtype=torch.float64)
    weights = mechanism(query, key, key).weights.detach().numpy()
    table = mechanism.table.detach().numpy()
    for t in range(2):
        exponentials = np.exp((table @ query[t].numpy())[:5])
        np.testing.assert_allclose(weights[t], exponentials / exponentials.sum(), rtol=1e-12)


def test_what_the_keys_hold_plays_no_part():
    mechanism = LocationAttention(4, max_len=7)
    query, value = torch.randn(2, 3, 4), torch.randn(2, 5, 4)
    first, second = (mechanism(query, torch.randn(2, 5, 4), value).weights for _ in range(2))
    assert torch.equal(first, second)


def test_source_beyond_the_last_position_is_refused():
    with pytest.raises(IndexError):
        LocationAttention(4, max_len=7)(torch.zeros(2, 4), torch.zeros(8, 4), torch.zeros(8, 4))


def test_query_of_another_width_is_refused():
    with pytest.raises(ValueError, match="query is 3 wide, expected 4"):
        LocationAttention(4, max_len=7)(torch.zeros(2, 3), torch.zeros(5, 4), torch.zeros(5, 4))

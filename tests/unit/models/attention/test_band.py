import pytest
import torch

from models.attention import spread_band
from models.attention.band import band_context, band_mask, band_positions, band_scores

WINDOWS = [1, 2, 3, 7]
LENGTHS = [1, 2, 3, 6, 7, 20]


def places(length: int, window: int) -> list[tuple[int, int, int]]:
    """(t, j, s) for every entry of a band that belongs to a key."""
    return [
        (t, j, t - window + j) for t in range(length) for j in range(2 * window + 1) if 0 <= t - window + j < length
    ]


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("length", LENGTHS)
def test_entry_j_of_row_t_is_the_key_at_t_minus_window_plus_j(length, window):
    query, key = torch.randn(2, length, 3), torch.randn(2, length, 3)
    expected = torch.zeros(2, length, 2 * window + 1)
    for t, j, s in places(length, window):
        expected[:, t, j] = (query[:, t] * key[:, s]).sum(-1)
    torch.testing.assert_close(band_scores(query, key, window), expected)


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("length", LENGTHS)
def test_band_mixes_spreads_and_masks_as_its_positions_say(length, window):
    value = torch.randn(length, 3)
    present = torch.rand(length) < 0.6
    allowed = torch.zeros(length, 2 * window + 1, dtype=torch.bool)
    dense, weights = torch.zeros(length, length), torch.rand(length, 2 * window + 1)
    for t, j, s in places(length, window):
        assert band_positions(present, window)[t, j] == s
        allowed[t, j] = present[s]
        dense[t, s] = weights[t, j]
    assert torch.equal(band_mask(present, window), allowed)
    assert torch.equal(spread_band(weights), dense)
    torch.testing.assert_close(band_context(weights, value, window), dense @ value)

import math

import pytest
import torch

from models.attention import LearnedPositions, SinusoidalPositions


def test_sinusoids_equal_the_formula():
    vectors = SinusoidalPositions(6)(torch.arange(50))
    assert vectors.shape == (50, 6)
    for position in (0, 1, 7, 49):
        for i in range(3):
            angle = position / 10_000 ** (2 * i / 6)
            assert vectors[position, 2 * i].item() == pytest.approx(math.sin(angle), abs=1e-5)
            assert vectors[position, 2 * i + 1].item() == pytest.approx(math.cos(angle), abs=1e-5)


def test_a_fixed_offset_is_a_rotation_that_does_not_depend_on_the_position():
    # The reason the paper gives for sinusoids (3.5): relative positions are linear functions of the vectors.
    vectors = SinusoidalPositions(8)(torch.arange(20))
    products = vectors[:-3] @ vectors[3:].T
    torch.testing.assert_close(products.diagonal(), products[0, 0].expand(17))


@pytest.mark.parametrize("kind", [SinusoidalPositions(4), LearnedPositions(4, 10)], ids=["sinusoidal", "learned"])
def test_rows_may_stand_at_different_positions(kind):
    vectors = kind(torch.tensor([[0, 1, 2], [5, 6, 7]]))
    assert vectors.shape == (2, 3, 4)
    assert torch.equal(vectors[1, 0], kind(torch.tensor(5)))


@pytest.mark.parametrize("d_model", [0, 1, 7, -2])
def test_width_without_pairs_of_sine_and_cosine_is_refused(d_model):
    with pytest.raises(ValueError, match="positive and even"):
        SinusoidalPositions(d_model)


def test_sinusoids_are_not_part_of_the_state():
    assert SinusoidalPositions(4).state_dict() == {}


def test_learned_vectors_get_their_gradient_at_the_positions_used():
    positions = LearnedPositions(4, 5)
    positions(torch.tensor([1, 3])).sum().backward()
    assert positions.table.weight.grad is not None
    assert positions.table.weight.grad.abs().sum(-1).tolist() == [0.0, 4.0, 0.0, 4.0, 0.0]


def test_learned_position_beyond_the_table_is_refused():
    with pytest.raises(IndexError):
        LearnedPositions(4, 5)(torch.tensor([5]))

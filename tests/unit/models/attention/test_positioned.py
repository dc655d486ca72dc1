import pytest
import torch

from models.attention import (
    LearnedPositions,
    MultiHeadAttention,
    PositionedSelfAttention,
    SinusoidalPositions,
    padding_mask,
)

D, H = 8, 2
BUILDERS = {"sinusoidal": lambda: SinusoidalPositions(D), "learned": lambda: LearnedPositions(D, 6)}
either_kind = pytest.mark.parametrize("build", BUILDERS.values(), ids=BUILDERS.keys())


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@either_kind
def test_it_is_self_attention_over_inputs_with_positions_added(build):
    positions, attention = build(), MultiHeadAttention(D, H)
    states, mask = torch.randn(2, 5, D), padding_mask(torch.arange(5) < torch.tensor([[5], [3]]))
    expected = attention(states + positions(torch.arange(5)), mask=mask)
    context, weights = PositionedSelfAttention(positions, attention)(states, mask)
    assert torch.equal(context, expected.context)
    assert torch.equal(weights, expected.weights)


@either_kind
def test_order_matters(build):
    module = PositionedSelfAttention(build(), MultiHeadAttention(D, H))
    torch.nn.init.normal_(next(module.positions.parameters(), torch.empty(0)))
    states = torch.randn(1, 5, D)
    assert not torch.allclose(module(states.flip(1)).context, module(states).context.flip(1), atol=1e-3)


def test_states_of_another_width_are_refused():
    with pytest.raises(ValueError, match="states is 7 wide, expected 8"):
        PositionedSelfAttention(SinusoidalPositions(D), MultiHeadAttention(D, H))(torch.zeros(1, 3, 7))


def test_sequence_beyond_a_learned_table_is_refused():
    with pytest.raises(IndexError):
        PositionedSelfAttention(LearnedPositions(D, 6), MultiHeadAttention(D, H))(torch.zeros(1, 7, D))

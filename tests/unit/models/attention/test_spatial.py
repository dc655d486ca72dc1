import numpy as np
import pytest
import torch

from models.attention import SpatialSelfAttention


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def open_gate(channels: int) -> SpatialSelfAttention:
    module = SpatialSelfAttention(channels)
    torch.nn.init.constant_(module.gamma, 0.5)
    return module


def test_it_starts_as_the_identity():
    features = torch.randn(2, 16, 3, 4)
    assert torch.equal(SpatialSelfAttention(16)(features).context, features)


@pytest.mark.parametrize(("channels", "expected"), [(1, 1), (7, 1), (8, 1), (16, 2), (64, 8)])
def test_query_and_key_have_an_eighth_of_the_channels_but_at_least_one(channels, expected):
    module = SpatialSelfAttention(channels)
    assert module.project_query.out_channels == module.project_key.out_channels == expected
    assert module.project_value.out_channels == channels


def test_equals_the_formula_in_float64():
    module = open_gate(8).double()
    features = torch.randn(1, 8, 2, 3, dtype=torch.float64)
    context, weights = module(features)
    cells = [features[0, :, i // 3, i % 3].numpy() for i in range(6)]  # row by row

    def project(convolution, cell):
        return convolution.weight.detach().numpy()[:, :, 0, 0] @ cell + convolution.bias.detach().numpy()

    for i, cell in enumerate(cells):
        query = project(module.project_query, cell)
        exponentials = np.exp([query.dot(project(module.project_key, other)) for other in cells])
        expected = exponentials / exponentials.sum()
        np.testing.assert_allclose(weights[0, 0, i].detach().numpy(), expected, rtol=1e-10)
        gathered = sum(w * project(module.project_value, other) for w, other in zip(expected, cells, strict=True))
        np.testing.assert_allclose(context[0, :, i // 3, i % 3].detach().numpy(), 0.5 * gathered + cell, rtol=1e-10)


def test_weights_sum_to_one_over_all_cells():
    weights = SpatialSelfAttention(16)(torch.randn(2, 16, 3, 4)).weights
    assert weights.shape == (2, 1, 12, 12)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 1, 12))


def test_moving_the_cells_moves_the_answer():
    module = open_gate(8)
    features = torch.randn(2, 8, 3, 4)
    torch.testing.assert_close(module(features.flip(2, 3)).context, module(features).context.flip(2, 3))


def test_closed_gate_learns_first_and_then_lets_the_gradient_through():
    module = SpatialSelfAttention(8)
    features = torch.randn(2, 8, 3, 3)
    module(features).context.square().sum().backward()
    assert module.gamma.grad is not None
    assert module.gamma.grad.abs() > 0
    assert module.project_value.weight.grad is not None
    assert (module.project_value.weight.grad == 0).all()
    torch.nn.init.constant_(module.gamma, 0.1)
    module.zero_grad()
    module(features).context.square().sum().backward()
    for name, parameter in module.named_parameters():
        # A bias on all keys shifts each query's scores by one number, which softmax does not see.
        if name != "project_key.bias":
            assert parameter.grad.abs().max() > 1e-5, name


@pytest.mark.parametrize("shape", [(2, 7, 3, 3), (8, 3, 3)])
def test_map_of_other_channels_or_rank_is_refused(shape):
    with pytest.raises(ValueError, match=r"features must be \(B,8,h,w\)"):
        SpatialSelfAttention(8)(torch.zeros(shape))


def test_no_channels_are_refused():
    with pytest.raises(ValueError, match="channels must be positive"):
        SpatialSelfAttention(0)

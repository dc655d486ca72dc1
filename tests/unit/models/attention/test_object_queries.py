import numpy as np
import pytest
import torch

from models.attention import ObjectQueries

N, D, H = 3, 8, 2


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def test_equals_the_formula_in_float64():
    module = ObjectQueries(N, D, H, d_source=5).double()
    source, positions = torch.randn(1, 6, 5).double(), torch.randn(6, 5).double()
    context, weights = module(source, positions=positions)

    def project(layer: torch.nn.Linear, rows: np.ndarray) -> np.ndarray:
        return rows @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()

    attention, heads = module.attention, []
    queries = project(attention.project_query, module.queries.detach().numpy())
    keys = project(attention.project_key, source[0].numpy() + positions.numpy())
    values = project(attention.project_value, source[0].numpy())
    for head in range(H):
        columns = slice(head * D // H, (head + 1) * D // H)
        exponentials = np.exp(queries[:, columns] @ keys[:, columns].T / np.sqrt(D // H))
        expected = exponentials / exponentials.sum(-1, keepdims=True)
        np.testing.assert_allclose(weights[0, head].detach().numpy(), expected, rtol=1e-10)
        heads.append(expected @ values[:, columns])
    expected = project(attention.project_context, np.concatenate(heads, -1))
    np.testing.assert_allclose(context[0].detach().numpy(), expected, rtol=1e-10)


@pytest.mark.parametrize("length", [0, 1, 40])
def test_there_are_as_many_answers_as_queries_whatever_the_length(length):
    context, weights = ObjectQueries(N, D, H)(torch.randn(2, length, D))
    assert context.shape == (2, N, D)
    assert weights.shape == (2, H, N, length)
    assert context.isfinite().all()


def test_padding_changes_nothing():
    module = ObjectQueries(N, D, H)
    source, positions = torch.randn(2, 5, D), torch.randn(2, 5, D)
    mask = (torch.arange(5) < 3)[None, None, None, :]
    padded, alone = module(source, mask, positions), module(source[:, :3], positions=positions[:, :3])
    torch.testing.assert_close(padded.context, alone.context)
    assert (padded.weights[..., 3:] == 0).all()
    torch.testing.assert_close(padded.weights.sum(-1), torch.ones(2, H, N))


def test_order_matters_only_through_positions():
    module = ObjectQueries(N, D, H)
    source, positions = torch.randn(2, 5, D), torch.randn(5, D)
    torch.testing.assert_close(module(source.flip(1)).context, module(source).context)
    moved = module(source.flip(1), positions=positions).context
    assert not torch.allclose(moved, module(source, positions=positions).context, atol=1e-3)


def test_gradient_reaches_all_parameters_and_each_query():
    module = ObjectQueries(N, D, H)
    module(torch.randn(2, 5, D)).context.square().sum().backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        if name != "attention.project_key.bias":  # softmax does not see what shifts a query's scores as a whole
            assert parameter.grad.abs().max() > 1e-5, name
    assert module.queries.grad.abs().amax(-1).min() > 0


def test_no_query_is_refused():
    with pytest.raises(ValueError, match="num_queries must be positive, not 0"):
        ObjectQueries(0, D, H)


def test_source_of_another_width_is_refused():
    with pytest.raises(ValueError, match="source is 7 wide, expected 8"):
        ObjectQueries(N, D, H)(torch.zeros(1, 5, 7))


@pytest.mark.parametrize("shape", [(4, D), (5, 7), (1, 1, 5, D)])
def test_positions_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match="do not fit a source"):
        ObjectQueries(N, D, H)(torch.zeros(1, 5, D), positions=torch.zeros(shape))


def test_mask_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="does not fit scores"):
        ObjectQueries(N, D, H)(torch.zeros(1, 5, D), torch.ones(1, 1, 1, 4, dtype=torch.bool))

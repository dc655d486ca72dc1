import numpy as np
import pytest
import torch

from models.attention import ConcatFusion, SumFusion
from models.attention.recurrent_fusion import FUSIONS, fusion

every_fusion = pytest.mark.parametrize("kind", FUSIONS)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def test_concatenation_equals_the_formula_in_float64():
    fuse = ConcatFusion(4, 3).double()
    hidden, context = torch.randn(4, dtype=torch.float64), torch.randn(3, dtype=torch.float64)
    expected = np.tanh(fuse.combine.weight.detach().numpy() @ np.concatenate((context, hidden)))
    np.testing.assert_allclose(fuse(hidden, context).detach().numpy(), expected, rtol=1e-12)


def test_weighted_sum_equals_the_formula_in_float64():
    fuse = SumFusion(4, 3).double()
    hidden, context = torch.randn(4, dtype=torch.float64), torch.randn(3, dtype=torch.float64)
    w_g, b_g, w_c = (p.detach().numpy() for p in (fuse.gate.weight, fuse.gate.bias, fuse.project_context.weight))
    gate = 1 / (1 + np.exp(-(w_g @ np.concatenate((context, hidden)) + b_g)))
    expected = gate * hidden.numpy() + (1 - gate) * (w_c @ context.numpy())
    np.testing.assert_allclose(fuse(hidden, context).detach().numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize(("bias", "kept"), [(50.0, "hidden"), (-50.0, "context")])
def test_the_gate_of_the_sum_can_choose_either_alone(bias, kept):
    fuse = SumFusion(4, 3)
    torch.nn.init.constant_(fuse.gate.bias, bias)
    hidden, context = torch.randn(2, 4), torch.randn(2, 3)
    expected = hidden if kept == "hidden" else fuse.project_context(context)
    torch.testing.assert_close(fuse(hidden, context), expected)


@every_fusion
def test_leading_axes_are_free_and_gradient_reaches_all_parameters(kind):
    fuse = fusion(kind, 4, 3)
    hidden, context = torch.randn(2, 5, 4, requires_grad=True), torch.randn(2, 5, 3, requires_grad=True)
    fused = fuse(hidden, context)
    assert fused.shape == (2, 5, 4)
    fused.square().sum().backward()
    for tensor in (hidden, context, *fuse.parameters()):
        assert tensor.grad is not None
        assert tensor.grad.abs().max() > 0


@every_fusion
@pytest.mark.parametrize(("hidden", "context", "wrong"), [(5, 3, "hidden"), (4, 4, "context"), (3, 4, "hidden")])
def test_other_widths_are_refused(kind, hidden, context, wrong):
    with pytest.raises(ValueError, match=f"{wrong} is . wide"):
        fusion(kind, 4, 3)(torch.zeros(hidden), torch.zeros(context))


def test_a_fusion_of_another_name_is_refused():
    with pytest.raises(ValueError, match="fusion must be one of concat, sum, not 'product'"):
        fusion("product", 4, 3)

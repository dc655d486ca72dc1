import numpy as np
import torch
from torch.nn import functional

from models.attention import ScaledDotProductAttention


def test_weights_and_context_equal_the_formula_in_float64():
    torch.manual_seed(0)
    query, key, value = (torch.randn(n, w, dtype=torch.float64) for n, w in ((3, 4), (5, 4), (5, 2)))
    context, weights = ScaledDotProductAttention()(query, key, value)
    for t in range(3):
        exponentials = [np.exp(np.dot(query[t].numpy(), key[s].numpy()) / np.sqrt(4)) for s in range(5)]
        expected = np.array(exponentials) / sum(exponentials)
        np.testing.assert_allclose(weights[t].numpy(), expected, rtol=1e-12)
        np.testing.assert_allclose(
            context[t].numpy(), sum(expected[s] * value[s].numpy() for s in range(5)), rtol=1e-12
        )


def test_agrees_with_torch_scaled_dot_product_attention_under_a_mask():
    torch.manual_seed(0)
    query, key, value = torch.randn(2, 3, 4, 8), torch.randn(2, 3, 5, 8), torch.randn(2, 3, 5, 6)
    mask = torch.rand(2, 1, 4, 5) < 0.7
    mask[..., 0] = True  # torch's own answer for a wholly masked query is NaN in some versions
    reference = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    torch.testing.assert_close(ScaledDotProductAttention()(query, key, value, mask).context, reference)


def test_scores_of_unit_components_have_unit_variance_at_any_width():
    torch.manual_seed(0)
    for width in (4, 256):
        scores = ScaledDotProductAttention().score(torch.randn(2000, width), torch.randn(2000, width))
        assert 0.9 < scores.var().item() < 1.1

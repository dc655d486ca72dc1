"""Each mechanism with parameters as inputs, held against the module of `models.attention` that owns them."""

import pytest
import torch

from models.attention import (
    AdditiveAttention,
    BilinearAttention,
    DotAttention,
    MultiHeadAttention,
    ScaledDotProductAttention,
)
from models.attention.catalogue import mechanism
from models.attention.concat import ConcatAttention
from models.attention.linear import LinearAttention
from models.networks.bare_attention import MECHANISMS, BareAttentionConfig, bare_attention

ROWS, T, S, K, V, A = 3, 4, 5, 6, 7, 8


@pytest.fixture
def given():
    generator = torch.Generator().manual_seed(0)
    mask = torch.rand(ROWS, T, S, generator=generator) < 2 / 3
    mask[:, -1] = False
    return {
        "query": torch.randn(ROWS, T, K, generator=generator),
        "key": torch.randn(ROWS, S, K, generator=generator),
        "value": torch.randn(ROWS, S, V, generator=generator),
        "mask": mask,
    }


def assert_equals(modules, given, parameters):
    """Row by row: each row's parameters are those of the module of its own."""
    network = bare_attention(BareAttentionConfig(parameters.pop("mechanism")))
    context, weights = network(**given, **parameters)
    assert not context.isnan().any()
    for row, module in enumerate(modules):
        alone = {name: tensor[row : row + 1] for name, tensor in given.items()}
        if isinstance(module, MultiHeadAttention):
            alone["mask"] = alone["mask"].unsqueeze(1)
        expected = module(**alone)
        torch.testing.assert_close(context[row : row + 1], expected.context, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(weights[row : row + 1], expected.weights, atol=1e-6, rtol=1e-5)
    assert not weights[..., -1, :].any()


@pytest.mark.parametrize(
    ("name", "module"),
    [("scaled-dot-product", ScaledDotProductAttention), ("dot", DotAttention), ("linear", LinearAttention)],
)
def test_mechanism_without_parameters_is_the_module_itself(name, module, given):
    assert_equals([module()] * ROWS, given, {"mechanism": name})


def test_additive_takes_the_two_projections_and_the_vector(given):
    modules = [AdditiveAttention(K, K, A) for _ in range(ROWS)]
    parameters = {
        "project_query": torch.stack([module.project_query.weight.T for module in modules]),
        "project_key": torch.stack([module.project_key.weight.T for module in modules]),
        "combine": torch.stack([module.combine for module in modules]),
    }
    assert_equals(modules, given, {"mechanism": "additive", **parameters})


def test_concat_takes_both_halves_of_the_matrix_and_the_vector(given):
    modules = [ConcatAttention(K, K, A) for _ in range(ROWS)]
    parameters = {
        "weight": torch.stack([module.weight.T.unflatten(0, (2, K)) for module in modules]),
        "combine": torch.stack([module.combine for module in modules]),
    }
    assert_equals(modules, given, {"mechanism": "concat", **parameters})


def test_bilinear_takes_the_matrix(given):
    modules = [BilinearAttention(K, K) for _ in range(ROWS)]
    assert_equals(
        modules, given, {"mechanism": "bilinear", "weight": torch.stack([module.weight for module in modules])}
    )


def test_multi_head_takes_a_matrix_for_each_head(given):
    heads, width = 2, 3
    given["value"] = given["value"][..., :K]
    modules = [MultiHeadAttention(K, heads, bias=False) for _ in range(ROWS)]

    def split(projection):
        """(D,D) as nn.Linear holds it -> (H,D,K)."""
        return projection.weight.T.unflatten(1, (heads, width)).transpose(0, 1)

    parameters = {
        name: torch.stack([split(getattr(module, name)) for module in modules])
        for name in ("project_query", "project_key", "project_value")
    }
    parameters["project_context"] = torch.stack(
        [module.project_context.weight.T.unflatten(0, (heads, width)) for module in modules]
    )
    assert_equals(modules, given, {"mechanism": "multi-head", **parameters})


@pytest.mark.parametrize("name", MECHANISMS)
def test_every_mechanism_is_in_the_catalogue_under_its_name(name):
    assert mechanism(name).name == name


def test_unknown_mechanism_is_refused():
    with pytest.raises(ValueError, match=r"mechanism must be one of scaled-dot-product, .*, not 'smell'"):
        BareAttentionConfig("smell")

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.attention import AdditiveAttention, CopyAttention
from models.attention.copying import add_logarithms

V, X = 6, 3


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def build() -> CopyAttention:
    return CopyAttention(4, 3, 2, AdditiveAttention(4, 3, 5), num_extra=X)


def draw(batch=2, target=3, source=5, dtype=torch.float32):
    return {
        "query": torch.randn(batch, target, 4, dtype=dtype),
        "key": torch.randn(batch, source, 3, dtype=dtype),
        "inputs": torch.randn(batch, target, 2, dtype=dtype),
        "logits": torch.randn(batch, target, V, dtype=dtype),
        "source_ids": torch.randint(V + X, (batch, source)),
    }


def test_probabilities_equal_the_formula_in_float64():
    module = build().double()
    inputs = draw(dtype=torch.float64)
    context, weights, logarithms = (tensor.detach().numpy() for tensor in module(**inputs))
    w, b = module.gate.weight.detach().numpy()[0], module.gate.bias.detach().numpy()[0]
    for row in range(2):
        for t in range(3):
            features = np.concatenate((context[row, t], inputs["query"][row, t], inputs["inputs"][row, t]))
            p_gen = 1 / (1 + np.exp(-(w @ features + b)))
            vocabulary = np.exp(inputs["logits"][row, t].numpy())
            expected = np.zeros(V + X)
            expected[:V] = p_gen * vocabulary / vocabulary.sum()
            for s in range(5):
                expected[inputs["source_ids"][row, s]] += (1 - p_gen) * weights[row, t, s]
            np.testing.assert_allclose(np.exp(logarithms[row, t]), expected, rtol=1e-10)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), source=st.integers(0, 6))
def test_it_is_a_distribution_even_with_nothing_to_copy(seed, source):
    torch.manual_seed(seed)
    inputs = draw(source=source)
    answer = build()(**inputs, mask=torch.rand(2, 3, source) < 0.4)
    assert answer.log_probabilities.isfinite().all()
    torch.testing.assert_close(answer.log_probabilities.exp().sum(-1), torch.ones(2, 3))


def test_with_nothing_to_copy_it_is_the_vocabulary_alone():
    inputs = draw()
    probabilities = build()(**inputs, mask=torch.zeros(1, 1, 5, dtype=torch.bool)).log_probabilities.exp()
    torch.testing.assert_close(probabilities[..., :V], torch.softmax(inputs["logits"], -1))
    assert (probabilities[..., V:] == 0).all()


def test_a_word_beyond_the_vocabulary_is_possible_only_where_the_source_has_it():
    inputs = draw(batch=1, source=2)
    inputs["source_ids"] = torch.tensor([[V + 1, V + 1]])
    answer = build()(**inputs)
    probabilities = answer.log_probabilities.exp()
    assert (probabilities[..., V] == 0).all()
    assert (probabilities[..., V + 1] > 0).all()
    only_masked = build()(**inputs, mask=torch.tensor([[[False, False]]])).log_probabilities.exp()
    assert (only_masked[..., V + 1] == 0).all()


@pytest.mark.parametrize(("bias", "generates"), [(200.0, True), (-200.0, False)])
def test_a_decided_gate_leaves_the_other_word_its_logarithm(bias, generates):
    module = build()
    torch.nn.init.zeros_(module.gate.weight)
    torch.nn.init.constant_(module.gate.bias, bias)
    inputs = draw(batch=1, source=1)
    inputs["source_ids"] = torch.tensor([[V]])
    logarithms = module(**inputs).log_probabilities
    if generates:
        torch.testing.assert_close(logarithms[..., :V], torch.log_softmax(inputs["logits"], -1))
        torch.testing.assert_close(logarithms[..., V], torch.full((1, 3), -200.0))
    else:
        torch.testing.assert_close(logarithms[..., :V], torch.log_softmax(inputs["logits"], -1) - 200)
        torch.testing.assert_close(logarithms[..., V], torch.zeros(1, 3))


def test_gradient_reaches_all_parameters_and_stays_finite():
    module = build()
    inputs = draw()
    for name in ("query", "key", "inputs", "logits"):
        inputs[name].requires_grad_()
    mask = torch.rand(2, 3, 5) < 0.6
    mask[0, 0] = False
    module(**inputs, mask=mask).log_probabilities[..., 0].sum().backward()
    for tensor in (*(inputs[name] for name in ("query", "key", "inputs", "logits")), *module.parameters()):
        assert tensor.grad is not None
        assert tensor.grad.isfinite().all()
        assert tensor.grad.abs().max() > 0


def test_logarithms_add_up_without_their_exponentials():
    left, right = torch.tensor([-1000.0, -1000.0, 0.0, -1e38]), torch.tensor([-1000.0, -2000.0, 0.0, -1e38])
    expected = torch.tensor([-1000.0 + np.log(2), -1000.0, np.log(2), -1e38])
    torch.testing.assert_close(add_logarithms(left, right), expected.float())


@pytest.mark.parametrize(
    ("name", "tensor", "message"),
    [
        ("query", torch.zeros(2, 3, 5), "query is 5 wide, expected 4"),
        ("key", torch.zeros(2, 5, 4), "key is 4 wide, expected 3"),
        ("inputs", torch.zeros(2, 3, 1), "inputs is 1 wide, expected 2"),
        ("source_ids", torch.zeros(2, 4, dtype=torch.int64), "do not fit keys"),
        ("mask", torch.ones(2, 3, 4, dtype=torch.bool), "does not fit scores"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(name, tensor, message):
    with pytest.raises(ValueError, match=message):
        build()(**{**draw(), name: tensor})


def test_fewer_than_no_extra_words_are_refused():
    with pytest.raises(ValueError, match="num_extra must not be negative, not -1"):
        CopyAttention(4, 3, 2, AdditiveAttention(4, 3, 5), num_extra=-1)

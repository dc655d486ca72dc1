from dataclasses import asdict, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.networks import TextClassifier, TextClassifierConfig
from models.networks.text_classifier import POOLINGS, POSITIONS

TINY = TextClassifierConfig.tiny()
VARIANTS = {
    f"{positions} {pooling}": replace(TINY, positions=positions, pooling=pooling)
    for positions in POSITIONS
    for pooling in POOLINGS
} | {"no bag": replace(TINY, bag_residual=False), "post-norm": replace(TINY, norm_first=False)}
WITH_WINDOW = VARIANTS | {"window": replace(TINY, window=2)}
every_variant = pytest.mark.parametrize("config", WITH_WINDOW.values(), ids=WITH_WINDOW.keys())
every_variant_with_maps = pytest.mark.parametrize("config", VARIANTS.values(), ids=VARIANTS.keys())


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def network(config: TextClassifierConfig = TINY) -> TextClassifier:
    return TextClassifier(config).eval()


def ids_of(batch: int, length: int) -> torch.Tensor:
    return torch.randint(TINY.vocab_size, (batch, length))


@every_variant
@settings(max_examples=30, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 9), min_size=1, max_size=4),
    padding=st.integers(0, 5),
    seed=st.integers(0, 2**32 - 1),
)
def test_batched_and_padded_equals_alone(config, lengths, padding, seed):
    torch.manual_seed(seed)
    model = network(config)
    rows = [ids_of(1, length) for length in lengths]
    width = max(lengths) + padding
    ids = ids_of(len(rows), width)  # what stands at padded positions must not matter
    for row, alone in zip(ids, rows, strict=True):
        row[: alone.shape[1]] = alone[0]
    mask = torch.arange(width) < torch.tensor(lengths)[:, None]
    together = model(ids, mask)
    for index, alone in enumerate(rows):
        length = alone.shape[1]
        expected = model(alone, torch.ones(1, length, dtype=torch.bool))
        torch.testing.assert_close(together.logits[index], expected.logits[0], atol=1e-5, rtol=1e-4)
        for batched, single in zip(together.attention, expected.attention, strict=True):
            cropped = batched[index, :, :length, :length]
            torch.testing.assert_close(cropped, single[0], atol=1e-5, rtol=1e-4)


@every_variant_with_maps
def test_each_layer_returns_weights_that_sum_to_one_with_padding_at_exactly_zero(config):
    mask = torch.tensor([[True] * 5, [True, True, False, False, False]])
    output = network(config)(ids_of(2, 5), mask)
    assert output.logits.shape == (2, config.num_classes)
    assert len(output.attention) == config.num_layers
    for weights in output.attention:
        assert weights.shape == (2, config.num_heads, 5, 5)
        torch.testing.assert_close(weights.sum(-1), torch.ones(2, config.num_heads, 5))
        assert (weights[1, :, :, 2:] == 0).all()


@every_variant
def test_text_without_a_token_gets_finite_logits_and_zero_weights(config):
    output = network(config)(ids_of(2, 3), torch.tensor([[False] * 3, [True] * 3]))
    assert output.logits.isfinite().all()
    assert all((weights[0] == 0).all() for weights in output.attention)


@every_variant
def test_gradient_reaches_all_parameters_also_beside_an_empty_text(config):
    model = TextClassifier(replace(config, dropout=0.0, embedding_dropout=0.0, word_dropout=0.0))
    mask = torch.tensor([[True] * 6, [True] * 4 + [False] * 2, [False] * 6])
    model(ids_of(3, 6), mask).logits.square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        if not name.endswith("project_key.bias"):  # softmax does not see what shifts a query's scores as a whole
            assert parameter.grad.abs().max() > 0, name


def test_window_keeps_the_encoder_to_what_is_near_and_returns_no_maps():
    near, everywhere = network(replace(TINY, window=2)), network(TINY)
    near.load_state_dict(everywhere.state_dict())
    ids, mask = ids_of(1, 20), torch.ones(1, 20, dtype=torch.bool)
    assert near(ids, mask).attention == ()
    assert not torch.allclose(near(ids, mask).logits, everywhere(ids, mask).logits, atol=1e-5)
    torch.testing.assert_close(near(ids[:, :3], mask[:, :3]).logits, everywhere(ids[:, :3], mask[:, :3]).logits)


@pytest.mark.parametrize("positions", POSITIONS)
def test_order_of_words_matters(positions):
    model = network(replace(TINY, positions=positions))
    ids, mask = torch.tensor([[1, 2, 3, 4]]), torch.ones(1, 4, dtype=torch.bool)
    assert not torch.allclose(model(ids, mask).logits, model(ids.flip(1), mask).logits, atol=1e-5)


def test_bag_residual_brings_the_bare_embeddings_to_the_head():
    with_bag, without = network(), network(replace(TINY, bag_residual=False))
    assert with_bag.head.in_features == without.head.in_features + TINY.d_model
    with torch.no_grad():
        with_bag.head.weight[:, : without.head.in_features] = 0.0
    ids, mask = torch.tensor([[1, 2, 3]]), torch.tensor([[True, True, False]])
    mean = with_bag.token_embedding.weight[[1, 2]].mean(0) * TINY.d_model**0.5
    expected = with_bag.head.weight[:, without.head.in_features :] @ mean + with_bag.head.bias
    torch.testing.assert_close(with_bag(ids, mask).logits[0], expected)


def test_hidden_words_are_hidden_from_every_part_and_only_while_training():
    model = TextClassifier(replace(TINY, word_dropout=0.5, dropout=0.0, embedding_dropout=0.0))
    ids, mask = ids_of(1, 40), torch.ones(1, 40, dtype=torch.bool)
    trained = model(ids, mask)
    kept = trained.attention[0][0, 0, 0] > 0
    assert 5 < kept.sum() < 35
    model.eval()
    torch.testing.assert_close(trained.logits, model(ids, kept[None]).logits)
    assert (model(ids, mask).attention[0] > 0).all()


def test_a_few_steps_learn_to_tell_texts_apart_by_one_word():
    model = TextClassifier(replace(TINY, dropout=0.0, embedding_dropout=0.0, word_dropout=0.0))
    labels = torch.arange(30) % TINY.num_classes
    ids = torch.randint(TINY.num_classes, TINY.vocab_size, (30, 6))
    ids[:, 2] = labels
    mask = torch.ones(30, 6, dtype=torch.bool)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(60):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(ids, mask).logits, labels).backward()
        optimizer.step()
    assert (model(ids, mask).logits.argmax(-1) == labels).all()


def test_tokens_enter_with_unit_variance_at_any_width():
    for d_model in (16, 256):
        model = network(replace(TINY, d_model=d_model, vocab_size=500))
        assert 0.9 < (model.token_embedding.weight * model.token_scale).std().item() < 1.1


def test_word_vectors_are_what_the_network_starts_from():
    model = network(replace(TINY, pooling="mean"))
    vectors = torch.randn(TINY.vocab_size, TINY.d_model)
    model.start_from_word_vectors(vectors)
    torch.nn.init.zeros_(model.head.weight[:, : TINY.d_model].detach())
    expected = model.head.weight[:, TINY.d_model :] @ vectors[7] + model.head.bias
    logits = model(torch.tensor([[7]]), torch.ones(1, 1, dtype=torch.bool)).logits[0]
    torch.testing.assert_close(logits, expected)


@pytest.mark.parametrize("shape", [(32, 7), (31, 8), (8, 32), (32,)])
def test_word_vectors_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"must be of shape \(32, 8\)"):
        network().start_from_word_vectors(torch.zeros(shape))


def test_text_beyond_max_len_is_refused():
    with pytest.raises(ValueError, match="65 tokens are more than max_len 64"):
        network()(ids_of(1, 65), torch.ones(1, 65, dtype=torch.bool))


def test_mask_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"mask of shape \(1, 4\) does not fit ids of \(1, 5\)"):
        network()(ids_of(1, 5), torch.ones(1, 4, dtype=torch.bool))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("vocab_size", 0, "vocab_size must be a positive"),
        ("num_classes", 0, "num_classes must be a positive"),
        ("max_len", -5, "max_len must be a positive"),
        ("d_model", 0, "d_model must be a positive"),
        ("num_heads", 3, "d_model 8 does not divide into num_heads 3"),
        ("positions", "rotary", "positions must be one of sinusoidal, learned"),
        ("pooling", "max", "pooling must be one of mean, attention, mean\\+attention"),
        ("word_dropout", 1.0, "word_dropout must be"),
        ("embedding_dropout", -0.1, "embedding_dropout must be"),
        ("window", 0, "window must be a positive"),
        ("window", 64, "window 64 reaches over all of max_len 64"),
    ],
)
def test_config_that_makes_no_classifier_is_refused(field, value, message):
    with pytest.raises(ValueError, match=message):
        replace(TINY, **{field: value})


def test_odd_width_is_refused_for_sinusoids_and_taken_for_learned_positions():
    sizes = {"d_model": 9, "num_heads": 3, "vocab_size": 5, "num_classes": 2}
    with pytest.raises(ValueError, match="d_model 9 must be even"):
        TextClassifierConfig(**sizes)
    assert TextClassifier(TextClassifierConfig(**sizes, positions="learned")).config.d_model == 9


def test_config_survives_a_dictionary_and_is_exposed():
    assert TextClassifierConfig(**asdict(TINY)) == TINY
    assert network().config is TINY

from dataclasses import replace

import pytest
import torch

from models.networks import Translator, TranslatorConfig
from models.networks.stepwise import MAX_NEW

TINY = TranslatorConfig.tiny()


def ids(rows, length):
    return torch.randint(TINY.target_vocab_size, (rows, length))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vocab_size": 0}, "vocab_size"),
        ({"max_target_len": 0}, "max_target_len"),
        ({"d_model": 12}, "multiple of 8"),
        ({"start_id": 24}, "start_id 24 is outside the vocabulary of 24"),
        ({"end_id": 0}, "both 0"),
        ({"num_heads": 3}, "does not divide"),
    ],
)
def test_config_that_makes_no_sense_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(TINY, **changes)


def test_tied_output_is_the_target_embedding():
    tied, untied = Translator(TINY), Translator(replace(TINY, tie_output=False))
    assert tied.output.weight is tied.target_embedding.weight
    assert tied.output.bias is None
    assert untied.output.weight is not untied.target_embedding.weight


@pytest.mark.parametrize("norm_first", [True, False])
def test_norm_stands_where_the_config_says(norm_first):
    network = Translator(replace(TINY, norm_first=norm_first)).eval()
    assert network(ids(2, 5), torch.ones(2, 5, dtype=torch.bool), ids(2, 3)).shape == (2, 3, TINY.target_vocab_size)
    assert isinstance(network.last_norm, torch.nn.LayerNorm) == norm_first


@pytest.mark.parametrize(
    ("source", "mask", "target", "message"),
    [(41, 41, 3, "41 tokens"), (5, 4, 3, "does not fit"), (5, 5, 21, "21 tokens are more than the 20")],
)
def test_what_has_no_room_or_does_not_fit_is_refused(source, mask, target, message):
    with pytest.raises(ValueError, match=message):
        Translator(TINY)(ids(1, source), torch.ones(1, mask, dtype=torch.bool), ids(1, target))


def test_generation_has_the_configs_tokens():
    generation = Translator(replace(TINY, start_id=5, end_id=6, pad_id=7)).generation
    assert (generation.start, generation.end, generation.suppress) == ((5,), (6,), (5, 7))
    assert (generation.max_length, generation.max_new, generation.max_tokens) == (20, 20, 19)
    assert Translator(replace(TINY, max_target_len=500)).generation.max_new == MAX_NEW


def test_start_that_is_the_end_may_be_written():
    assert Translator(replace(TINY, start_id=2, end_id=2)).generation.suppress == (0,)


def test_start_returns_the_states_that_have_a_source_in_their_order():
    network = Translator(TINY).eval()
    mask = torch.arange(6) < torch.tensor([[6], [2]])
    started = network.start(ids(2, 6), mask)
    assert started[0].tolist() == [6, 2]
    assert [tuple(tensor.shape) for tensor in started[1:3]] == [(2, 2, 8, 6), (2, 2, 6, 8)]
    assert len(started) == sum(state.source is not None for state in network.states)


@torch.inference_mode()
def test_start_reads_each_source_as_the_encoder_does_whatever_stands_beside_it():
    network = Translator(TINY).eval()
    lengths = torch.tensor([7, 1, 4])
    source, mask = ids(3, 7), torch.arange(7) < lengths[:, None]
    _, *heads = network.start(source, mask)
    encoded = network._encode(source, mask)
    for block, key, value in zip(network._blocks(), heads[::2], heads[1::2], strict=True):
        expected = network._source_heads(block, encoded)
        for row, length in enumerate(lengths.tolist()):
            torch.testing.assert_close(key[row, ..., :length], expected.key[row, ..., :length])
            torch.testing.assert_close(value[row, :, :length], expected.value[row, :, :length])


@torch.inference_mode()
def test_a_source_that_gives_no_numbers_leaves_those_beside_it_alone():
    network = Translator(TINY).eval()
    network.source_embedding.weight[5] = torch.inf
    mask = torch.arange(4) < torch.tensor([[4], [2]])
    source = torch.tensor([[5, 6, 7, 8], [6, 7, 0, 0]])
    beside, alone = network.start(source, mask), network.start(source[1:, :2], mask[1:, :2])
    assert not beside[1][0].isfinite().all()
    for name, one, other in zip(("length", "key", "value"), beside, alone, strict=False):
        kept = one[1:, ..., :2] if name == "key" else one[1:, :, :2] if name == "value" else one[1:]
        torch.testing.assert_close(kept, other)


@torch.inference_mode()
def test_start_gives_numbers_where_a_source_has_no_token():
    started = Translator(TINY).eval().start(ids(2, 3), torch.zeros(2, 3, dtype=torch.bool))
    assert started[0].tolist() == [0, 0]
    assert all(tensor.isfinite().all() for tensor in started)

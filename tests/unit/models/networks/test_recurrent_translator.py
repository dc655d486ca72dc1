from dataclasses import replace

import pytest
import torch

from models.networks import RecurrentTranslator, RecurrentTranslatorConfig
from models.networks.recurrent_translator import _turned

TINY = RecurrentTranslatorConfig.tiny()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"d_hidden": 0}, "d_hidden"),
        ({"dropout": 1.0}, "dropout"),
        ({"pad_id": 24}, "pad_id"),
        ({"end_id": 0}, "both 0"),
    ],
)
def test_config_that_makes_no_sense_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(TINY, **changes)


def test_a_row_read_backwards_begins_at_its_last_token_and_padding_stays_behind():
    mask = torch.arange(5) < torch.tensor([[5], [3], [0]])
    assert _turned(mask).tolist() == [[4, 3, 2, 1, 0], [2, 1, 0, 3, 4], [0, 1, 2, 3, 4]]


def test_first_state_has_read_the_whole_source():
    torch.manual_seed(0)
    network = RecurrentTranslator(TINY).eval()
    ids = torch.randint(TINY.vocab_size, (1, 6))
    other = ids.clone()
    other[0, -1] = (ids[0, -1] + 1) % TINY.vocab_size
    mask = torch.ones(1, 6, dtype=torch.bool)
    first, changed = network.start(ids, mask)[-1], network.start(other, mask)[-1]
    assert first.shape == (1, TINY.d_hidden)
    assert not torch.equal(first, changed)


def test_alignment_falls_on_the_rows_own_source_alone():
    network = RecurrentTranslator(TINY).eval()
    mask = torch.arange(6) < torch.tensor([[6], [2]])
    started = network.start(torch.randint(TINY.vocab_size, (2, 6)), mask)
    (weights,) = network.step(torch.tensor([[1], [1]]), None, *started).attention
    assert weights.shape == (2, 1, 1, 6)
    assert weights[1, 0, 0, 2:].tolist() == [0.0] * 4


def test_more_tokens_than_positions_are_refused():
    with pytest.raises(ValueError, match="21 tokens are more than the 20"):
        RecurrentTranslator(TINY)(torch.zeros(1, 3).long(), torch.ones(1, 3).bool(), torch.zeros(1, 21).long())


def test_generation_takes_a_token_a_step():
    generation = RecurrentTranslator(TINY).generation
    assert (generation.start, generation.end, generation.suppress) == ((1,), (2,), (0, 1))
    assert (generation.max_length, generation.max_new, generation.max_tokens) == (20, 1, 19)

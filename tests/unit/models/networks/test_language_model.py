from dataclasses import replace

import pytest
import torch

from models.networks import LanguageModel, LanguageModelConfig

TINY = LanguageModelConfig.tiny()


def ids(rows, length):
    return torch.randint(TINY.vocab_size, (rows, length))


def test_padding_in_the_middle_is_seen_by_nobody():
    torch.manual_seed(0)
    network = LanguageModel(TINY).eval()
    tokens = ids(1, 6)
    other = tokens.clone()
    other[0, 2] = (tokens[0, 2] + 1) % TINY.vocab_size
    mask = torch.tensor([[True, True, False, True, True, True]])
    torch.testing.assert_close(network(tokens, mask)[:, 3:], network(other, mask)[:, 3:])


def test_mask_of_another_shape_is_refused():
    with pytest.raises(ValueError, match="does not fit tokens"):
        LanguageModel(TINY)(ids(1, 3), torch.ones(1, 4, dtype=torch.bool))


def test_more_tokens_than_positions_are_refused():
    with pytest.raises(ValueError, match="41 tokens are more than the 40"):
        LanguageModel(TINY)(ids(1, 41))


@pytest.mark.parametrize(
    ("changes", "message"), [({"max_len": 0}, "max_len"), ({"end_id": 32}, "end_id"), ({"d_model": 4}, "multiple of 8")]
)
def test_config_that_makes_no_sense_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(TINY, **changes)


def test_generation_without_a_start_begins_with_the_prompt():
    generation = LanguageModel(replace(TINY, start_id=None)).generation
    assert (generation.start, generation.end, generation.suppress) == ((), (2,), (0,))
    assert (generation.max_length, generation.max_new, generation.max_tokens) == (40, 40, 20)


def test_tied_output_is_the_embedding():
    network = LanguageModel(TINY)
    assert network.output.weight is network.token_embedding.weight
    assert LanguageModel(replace(TINY, tie_output=False)).output.bias is not None

import pytest
import torch

from models.networks.vocabulary import check_heads, check_ids, check_room, check_source, special_tokens


@pytest.mark.parametrize(("start", "expected"), [(1, (0, 1)), (None, (0,)), (2, (0,))])
def test_start_and_padding_are_never_written_but_the_end_is(start, expected):
    assert special_tokens(start, end_id=2, pad_id=0) == expected


def test_special_tokens_stand_in_the_vocabulary():
    check_ids(3, start_id=None, end_id=2, pad_id=0)
    with pytest.raises(ValueError, match="pad_id 3 is outside the vocabulary of 3"):
        check_ids(3, start_id=1, end_id=2, pad_id=3)
    with pytest.raises(ValueError, match="nothing could ever end"):
        check_ids(3, start_id=1, end_id=0, pad_id=0)


def test_heads_are_as_wide_as_the_exported_node_takes():
    check_heads(32, 4)
    with pytest.raises(ValueError, match="4 heads of d_model 48 are not a multiple of 8"):
        check_heads(48, 4)


def test_source_and_tokens_fit():
    check_source(torch.zeros(2, 3), torch.ones(2, 3), 3)
    with pytest.raises(ValueError, match="does not fit"):
        check_source(torch.zeros(2, 3), torch.ones(2, 4), 9)
    with pytest.raises(ValueError, match="4 tokens are more than the 3"):
        check_room(torch.zeros(2, 4), 3)

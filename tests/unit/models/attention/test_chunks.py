import pytest
import torch

from models.attention.chunks import chunked, chunked_keys, joined, spread_chunks

LENGTHS = [0, 1, 3, 4, 5, 8, 9]


@pytest.mark.parametrize("length", LENGTHS)
def test_joining_undoes_chunking(length):
    sequence = torch.randn(2, length, 3)
    chunks = chunked(sequence, 4)
    assert chunks.shape == (2, -(-length // 4), 4, 3)
    assert torch.equal(joined(chunks, length), sequence)


def test_what_fills_the_last_chunk_is_zero_and_no_key():
    assert chunked(torch.ones(5, 1), 4)[1, :, 0].tolist() == [1.0, 0.0, 0.0, 0.0]
    assert chunked_keys(torch.ones(5, dtype=torch.bool), 4)[1].tolist() == [True, False, False, False]


def test_weights_in_chunks_lie_in_blocks_along_the_diagonal():
    weights = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    assert spread_chunks(weights).tolist() == [[1.0, 2.0, 0.0], [3.0, 4.0, 0.0], [0.0, 0.0, 5.0]]

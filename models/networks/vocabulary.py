"""What networks that write token by token check of their sizes, of ids and of lengths."""

import torch
from torch import Tensor

HEAD_UNIT = 8
"""Heads over cached keys and values are so wide, or twice, three times so: the exported node takes no others."""


def check_heads(d_model: int, num_heads: int) -> None:
    """Raises ValueError unless each head's width is a multiple of `HEAD_UNIT`."""
    if d_model // num_heads % HEAD_UNIT != 0:
        raise ValueError(f"{num_heads} heads of d_model {d_model} are not a multiple of {HEAD_UNIT} wide each")


def check_ids(vocab_size: int, *, start_id: int | None, end_id: int, pad_id: int) -> None:
    """Raises ValueError for a special token outside the vocabulary, and for an end that is padding.

    The start may be the end, as where texts follow one another with one token between them; None: there is no start.
    """
    for name, token in (("start_id", start_id), ("end_id", end_id), ("pad_id", pad_id)):
        if token is not None and not 0 <= token < vocab_size:
            raise ValueError(f"{name} {token} is outside the vocabulary of {vocab_size}")
    if end_id == pad_id:
        raise ValueError(f"end_id and pad_id are both {end_id}: nothing could ever end")


def special_tokens(start_id: int | None, end_id: int, pad_id: int) -> tuple[int, ...]:
    """The tokens that are never written: start and padding, in order, but not what ends a text."""
    return tuple(sorted({token for token in (start_id, pad_id) if token is not None} - {end_id}))


def check_source(input_ids: Tensor, mask: Tensor, max_len: int) -> None:
    """Raises ValueError unless a source is (B,S), its mask as well, and S at most `max_len`."""
    if torch.compiler.is_exporting():  # a comparison with max_len would become a bound on the graph's dynamic axis
        return
    if input_ids.shape != mask.shape:
        raise ValueError(f"mask of shape {tuple(mask.shape)} does not fit ids of {tuple(input_ids.shape)}")
    check_room(input_ids, max_len)


def check_room(tokens: Tensor, max_len: int) -> None:
    """Raises ValueError if tokens (B,T) are more in a row than the network has positions."""
    if not torch.compiler.is_exporting() and tokens.shape[1] > max_len:
        raise ValueError(f"{tokens.shape[1]} tokens are more than the {max_len} that the network has positions for")

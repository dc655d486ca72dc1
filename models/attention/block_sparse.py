"""Block-sparse attention: each position attends to its block and to a few columns of every other block."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.attention.chunks import chunked, chunked_keys, joined, spread_chunks
from models.attention.masks import masked_softmax
from models.attention.mechanism import Attended
from models.attention.shapes import check_one_sequence, key_mask


class BlockSparseAttention(nn.Module):
    """The scaled dot product over a fixed pattern: Child et al. 2019, "Generating Long Sequences with Sparse
    Transformers", 4.3, "fixed" attention with a merged head: the keys of a query's own block of `block` positions, and
    of each other block its last `num_columns`. Any key reaches any query in two layers, through those columns.

    With `causal` only keys up to the query's own position, as in the paper; without, all of the pattern.
    It equals `ScaledDotProductAttention` under a mask of that pattern, and holds T·(block + num_columns·T/block) scores
    in place of T²: a block of about sqrt(T) makes it T·sqrt(T). `dropout` acts as in `Mechanism`.

    Raises ValueError unless 1 <= `num_columns` <= `block`.
    """

    def __init__(self, block: int, num_columns: int = 1, *, causal: bool = False, dropout: float = 0.0) -> None:
        super().__init__()
        if not 1 <= num_columns <= block:
            raise ValueError(f"num_columns must lie between 1 and the block of {block}, not be {num_columns}")
        self.block = block
        self.num_columns = num_columns
        self.causal = causal
        self.dropout = nn.Dropout(dropout)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Attended:
        """Mixes values: (...,T,K), (...,T,K), (...,T,Kv) -> context (...,T,Kv), weights (...,T,block+n·num_columns).

        n is the number of blocks; the last need not be full. The weights are over the keys of the own block, then over
        the columns, block by block, zero for those of the own block; `spread_block_sparse` lays them out over all keys.
        `mask` is bool over keys, broadcasts to (...,1,T), True may be attended to; a query with no key gets zeros.
        Raises ValueError if the three are not one sequence, query and key differ in K, or the mask does not fit.
        """
        check_one_sequence(query, key, value)
        length = query.shape[-2]
        scaled = query * query.shape[-1] ** -0.5
        keys, values = chunked(key, self.block), chunked(value, self.block)  # (...,n,block,K), (...,n,block,Kv)
        within = joined(chunked(scaled, self.block) @ keys.transpose(-2, -1), length)  # (...,T,block)
        between = scaled @ self._columns(keys).transpose(-2, -1)  # (...,T,K) @ (...,K,n·num_columns)
        allowed = self._allowed(chunked_keys(key_mask(mask, key), self.block), length)
        weights = masked_softmax(torch.cat((within, between), dim=-1), allowed)
        dropped = self.dropout(weights)
        own = joined(chunked(dropped[..., : self.block], self.block) @ values, length)
        context = own + dropped[..., self.block :] @ self._columns(values)  # (...,T,n·num_columns) @ (...,Kv)
        return Attended(context, weights)

    def _columns(self, chunks: Tensor) -> Tensor:
        """The last positions of every block, in a row: (...,n,block,X) -> (...,n·num_columns,X)."""
        return chunks[..., self.block - self.num_columns :, :].flatten(-3, -2)

    def _allowed(self, present: Tensor, length: int) -> Tensor:
        """The pattern, among the keys that are there: bool (...,n,block) -> bool (...,T,block+n·num_columns)."""
        rows = torch.arange(length, device=present.device)[:, None]
        own = joined(present.unsqueeze(-2).expand(*present.shape, self.block), length)  # (...,T,block)
        if self.causal:
            own = own & (torch.arange(self.block, device=present.device) <= rows % self.block)
        column = torch.arange(present.shape[-2] * self.num_columns, device=present.device)
        block_of_row, block_of_column = rows // self.block, column // self.num_columns
        before_or_other = block_of_column < block_of_row if self.causal else block_of_column != block_of_row
        columns = self._columns(present.unsqueeze(-1)).transpose(-2, -1) & before_or_other  # (...,1,·) & (T,·)
        return torch.cat((own, columns), dim=-1)


def spread_block_sparse(weights: Tensor, block: int, num_columns: int) -> Tensor:
    """Lays the weights out over all keys: (...,T,block+n·num_columns) -> (...,T,T). For sequences short enough."""
    columns = torch.unflatten(weights[..., block:], -1, (-1, num_columns))  # (...,T,n,num_columns)
    placed = functional.pad(columns, (block - num_columns, 0)).flatten(-2)  # (...,T,n·block)
    return spread_chunks(weights[..., :block]) + placed[..., : weights.shape[-2]]

"""Location attention: the query alone says where to look."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.attention.mechanism import Mechanism, check_width


class LocationAttention(Mechanism):
    """score(q, s) = (W q)_s, the score called "location" by Luong et al. 2015, 3.1, equation 8: what stands at a
    position plays no part in how much weight it gets.

    W has a row for each of `max_len` positions; a shorter source uses the first S of them, as in the paper. The paper
    ignores what lies beyond the last row; here it is an error, as with learned positions.
    """

    def __init__(self, d_query: int, max_len: int, dropout: float = 0.0) -> None:
        super().__init__(dropout)
        self.table = nn.Parameter(torch.empty(max_len, d_query))
        nn.init.xavier_uniform_(self.table)

    def score(self, query: Tensor, key: Tensor) -> Tensor:
        """Scores positions: (...,T,Kq), (...,S,any) -> (...,T,S). Of the key only its length S is read.

        Raises ValueError if the query is not as wide as the mechanism was built for, IndexError if S exceeds `max_len`.
        """
        check_width("query", query, self.table.shape[1])
        # Looked up rather than sliced: a lookup fails beyond the table, in an exported graph too.
        rows = functional.embedding(torch.arange(key.shape[-2], device=key.device), self.table)  # (S,Kq)
        return query @ rows.transpose(0, 1)  # (...,T,Kq) @ (Kq,S)

"""Sliding-window attention: each position attends to those near it, at a cost linear in the length."""

from torch import Tensor, nn

from models.attention.band import band_context, band_mask, band_scores
from models.attention.masks import masked_softmax
from models.attention.mechanism import Attended
from models.attention.shapes import check_one_sequence, key_mask


class SlidingWindowAttention(nn.Module):
    """The scaled dot product over `window` positions before, `window` after and the position itself: Beltagy et al.
    2020, "Longformer: The Long-Document Transformer", 3.1; there w is the whole width, here 2·window + 1.

    It equals `ScaledDotProductAttention` under a mask of that band, and holds T·3·`window` scores in place of T².
    `dropout` acts as in `Mechanism`. Raises ValueError if `window` is not positive.
    """

    def __init__(self, window: int, dropout: float = 0.0) -> None:
        super().__init__()
        if window < 1:
            raise ValueError(f"window must be positive, not {window}")
        self.window = window
        self.dropout = nn.Dropout(dropout)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Attended:
        """Mixes nearby values: (...,T,K), (...,T,K), (...,T,Kv) -> context (...,T,Kv), weights (...,T,2·window+1).

        Entry j of row t of the weights belongs to the key at t - window + j, and is zero where there is none;
        `spread_band` lays them out over all keys. `mask` is bool over keys, broadcasts to (...,1,T), True may be
        attended to; a query with no key in reach gets zeros.
        Raises ValueError if the three are not one sequence, query and key differ in K, or the mask does not fit.
        """
        check_one_sequence(query, key, value)
        allowed = band_mask(key_mask(mask, key), self.window)
        scores = band_scores(query * query.shape[-1] ** -0.5, key, self.window)
        weights = masked_softmax(scores, allowed)
        return Attended(band_context(self.dropout(weights), value, self.window), weights)

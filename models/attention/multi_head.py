"""Multi-head attention: several mechanisms side by side, each in its own small projection."""

from torch import Tensor

from models.attention.heads import ProjectedHeads, check_dropout
from models.attention.mechanism import Attended, Attends
from models.attention.scaled_dot_product import ScaledDotProductAttention


class MultiHeadAttention(ProjectedHeads):
    """Projects to H heads of K = D/H, attends in each, projects back: Vaswani et al. 2017, 3.2.2.

    Called with one sequence it is self-attention, with two it is cross-attention. `mechanism` does the attending on
    (B,H,T,K) and is the scaled dot product unless given; given, it brings its own dropout, and may be one for long
    inputs, such as `SlidingWindowAttention`. `d_source` is the width of key and value where they come from something
    of another width than `d_model`.

    Raises ValueError if `d_model` does not divide into `num_heads` heads, or if both `mechanism` and `dropout` are
    given.
    """

    def __init__(
        self,
        d_model: int,
        num_heads: int,
        *,
        d_source: int | None = None,
        bias: bool = True,
        dropout: float = 0.0,
        mechanism: Attends | None = None,
    ) -> None:
        super().__init__(d_model, num_heads, num_heads, d_source, bias)
        check_dropout(mechanism, dropout)
        self.mechanism: Attends = ScaledDotProductAttention(dropout) if mechanism is None else mechanism

    def forward(
        self, query: Tensor, key: Tensor | None = None, value: Tensor | None = None, mask: Tensor | None = None
    ) -> Attended:
        """Attends in all heads: (B,T,D), (B,S,d_source), (B,S,d_source) -> context (B,T,D), weights (B,H,T,S).

        `key` is the query and `value` the key unless given. `mask` is bool, broadcasts to (B,H,T,S), True may attend;
        a query with no key to attend to gets the bias of the last projection, and zero weights. A mechanism for long
        inputs takes a mask over keys alone, (B,1,1,S), and its weights are (B,H,...) in its own layout.
        Raises ValueError if a width is not the module's, key and value differ in S, or the mask does not fit.
        """
        context, weights = self.mechanism(*self.into_heads(query, key, value), mask)
        return Attended(self.out_of_heads(context), weights)

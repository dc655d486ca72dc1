"""Multi-head attention: several mechanisms side by side, each in its own small projection."""

from torch import Tensor, nn

from models.attention.mechanism import Attended, Attends, check_width
from models.attention.scaled_dot_product import ScaledDotProductAttention


class MultiHeadAttention(nn.Module):
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
        super().__init__()
        if num_heads < 1 or d_model < 1 or d_model % num_heads != 0:
            raise ValueError(f"d_model {d_model} does not divide into {num_heads} heads")
        if mechanism is not None and dropout:
            raise ValueError("dropout belongs to the mechanism: give it there")
        d_source = d_model if d_source is None else d_source
        self.num_heads = num_heads
        self.project_query = nn.Linear(d_model, d_model, bias=bias)
        self.project_key = nn.Linear(d_source, d_model, bias=bias)
        self.project_value = nn.Linear(d_source, d_model, bias=bias)
        self.project_context = nn.Linear(d_model, d_model, bias=bias)
        self.mechanism: Attends = ScaledDotProductAttention(dropout) if mechanism is None else mechanism
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws the projections anew: Xavier for the weights, zero for the biases."""
        for projection in (self.project_query, self.project_key, self.project_value, self.project_context):
            nn.init.xavier_uniform_(projection.weight)
            if projection.bias is not None:
                nn.init.zeros_(projection.bias)

    def forward(
        self, query: Tensor, key: Tensor | None = None, value: Tensor | None = None, mask: Tensor | None = None
    ) -> Attended:
        """Attends in all heads: (B,T,D), (B,S,d_source), (B,S,d_source) -> context (B,T,D), weights (B,H,T,S).

        `key` is the query and `value` the key unless given. `mask` is bool, broadcasts to (B,H,T,S), True may attend;
        a query with no key to attend to gets the bias of the last projection, and zero weights. A mechanism for long
        inputs takes a mask over keys alone, (B,1,1,S), and its weights are (B,H,...) in its own layout.
        Raises ValueError if a width is not the module's, key and value differ in S, or the mask does not fit.
        """
        key = query if key is None else key
        value = key if value is None else value
        check_width("query", query, self.project_query.in_features)
        check_width("key", key, self.project_key.in_features)
        check_width("value", value, self.project_value.in_features)
        context, weights = self.mechanism(
            self._split(self.project_query(query)),
            self._split(self.project_key(key)),
            self._split(self.project_value(value)),
            mask,
        )
        # (B,H,T,K) -> (B,T,H,K) -> (B,T,D)
        merged: Tensor = self.project_context(context.transpose(1, 2).flatten(2))
        return Attended(merged, weights)

    def _split(self, projected: Tensor) -> Tensor:
        """Gives each head its slice of the width: (B,T,D) -> (B,T,H,K) -> (B,H,T,K)."""
        width = projected.shape[-1] // self.num_heads
        return projected.view(*projected.shape[:-1], self.num_heads, width).transpose(1, 2)

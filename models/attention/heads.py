"""What mechanisms with heads share: projections into the heads and back, and what they check."""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from models.attention.mechanism import Attended, check_width


class ProjectedHeads(nn.Module, ABC):
    """Projects queries to H heads of K = D/H, keys and values to G heads of the same width, and the context back.

    `d_source` is the width of key and value where they come from something of another width than `d_model`.
    Raises ValueError if `d_model` does not divide into `num_heads` heads, or these into `num_kv_heads` groups.
    """

    def __init__(self, d_model: int, num_heads: int, num_kv_heads: int, d_source: int | None, bias: bool) -> None:
        super().__init__()
        if num_heads < 1 or d_model < 1 or d_model % num_heads != 0:
            raise ValueError(f"d_model {d_model} does not divide into {num_heads} heads")
        if num_kv_heads < 1 or num_heads % num_kv_heads != 0:
            raise ValueError(f"{num_heads} heads do not divide into {num_kv_heads} groups")
        d_source = d_model if d_source is None else d_source
        d_shared = d_model // num_heads * num_kv_heads
        self.num_heads = num_heads
        self.num_kv_heads = num_kv_heads
        self.project_query = nn.Linear(d_model, d_model, bias=bias)
        self.project_key = nn.Linear(d_source, d_shared, bias=bias)
        self.project_value = nn.Linear(d_source, d_shared, bias=bias)
        self.project_context = nn.Linear(d_model, d_model, bias=bias)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws the projections anew: Xavier for the weights, zero for the biases."""
        for projection in (self.project_query, self.project_key, self.project_value, self.project_context):
            nn.init.xavier_uniform_(projection.weight)
            if projection.bias is not None:
                nn.init.zeros_(projection.bias)

    @abstractmethod
    def forward(
        self, query: Tensor, key: Tensor | None = None, value: Tensor | None = None, mask: Tensor | None = None
    ) -> Attended:
        """Attends in all heads: (B,T,D), (B,S,d_source), (B,S,d_source) -> context (B,T,D), weights."""

    def into_heads(self, query: Tensor, key: Tensor | None, value: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Projects and splits: (B,T,D), (B,S,d_source), (B,S,d_source) -> (B,H,T,K), (B,G,S,K), (B,G,S,K).

        `key` is the query and `value` the key where there is none. Raises ValueError if a width is not the module's.
        """
        key = query if key is None else key
        value = key if value is None else value
        check_width("query", query, self.project_query.in_features)
        check_width("key", key, self.project_key.in_features)
        check_width("value", value, self.project_value.in_features)
        return (
            split_heads(self.project_query(query), self.num_heads),
            split_heads(self.project_key(key), self.num_kv_heads),
            split_heads(self.project_value(value), self.num_kv_heads),
        )

    def out_of_heads(self, context: Tensor) -> Tensor:
        """Puts the heads side by side and projects back: (B,H,T,K) -> (B,T,D)."""
        projected: Tensor = self.project_context(join_heads(context))
        return projected


def split_heads(projected: Tensor, num_heads: int) -> Tensor:
    """Gives each head its slice of the width: (...,T,heads*K) -> (...,T,heads,K) -> (...,heads,T,K)."""
    width = projected.shape[-1] // num_heads
    return projected.view(*projected.shape[:-1], num_heads, width).transpose(-3, -2)


def join_heads(context: Tensor) -> Tensor:
    """Puts the heads side by side, as `split_heads` found them: (...,H,T,K) -> (...,T,H,K) -> (...,T,D)."""
    return context.transpose(-3, -2).flatten(-2)


def check_dropout(mechanism: object | None, dropout: float) -> None:
    """Raises ValueError where a mechanism is given and a dropout beside it."""
    if mechanism is not None and dropout:
        raise ValueError("dropout belongs to the mechanism: give it there")

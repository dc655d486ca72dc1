"""Mechanisms by themselves: nothing is learned, and the parameters of the formula, where it has any, come as inputs.

Each takes query (B,T,Kq), key (B,S,Kk), value (B,S,Kv), mask (B,T,S), and then its parameters, with one entry for each
row. The scores are those of `models.attention`; here they only get their parameters from another place.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from models.attention import Attended, DotAttention, ScaledDotProductAttention, masked_softmax
from models.attention.additive import additive_score
from models.attention.bilinear import bilinear_score
from models.attention.linear import LinearAttention
from models.networks.config import check_choice


@dataclass(frozen=True)
class BareAttentionConfig:
    """Which mechanism: a name of `MECHANISMS`. Raises ValueError for another."""

    mechanism: str

    def __post_init__(self) -> None:
        check_choice("mechanism", self.mechanism, MECHANISMS)


class AdditiveCall(nn.Module):
    """`AdditiveAttention` with the parameters of the call."""

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor,
        project_query: Tensor,
        project_key: Tensor,
        combine: Tensor,
    ) -> Attended:
        """`project_query` (B,Kq,A), `project_key` (B,Kk,A), `combine` (B,A): context (B,T,Kv), weights (B,T,S)."""
        return _mix(additive_score(query @ project_query, key @ project_key, combine), value, mask)


class ConcatCall(nn.Module):
    """`ConcatAttention` with the parameters of the call, for query and key of one width K."""

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, weight: Tensor, combine: Tensor
    ) -> Attended:
        """`weight` (B,2,K,A), its half over the query before that over the key; `combine` (B,A).

        Returns context (B,T,Kv), weights (B,T,S).
        """
        over_query, over_key = weight.unbind(1)
        return _mix(additive_score(query @ over_query, key @ over_key, combine), value, mask)


class BilinearCall(nn.Module):
    """`BilinearAttention` with the matrix of the call."""

    def forward(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, weight: Tensor) -> Attended:
        """`weight` (B,Kq,Kk): context (B,T,Kv), weights (B,T,S)."""
        return _mix(bilinear_score(query, weight, key), value, mask)


class MultiHeadCall(nn.Module):
    """Multi-head attention as Vaswani et al. 2017, 3.2.2 write it: a matrix for each head, no biases.

    It equals `MultiHeadAttention` without biases, whose projections are these matrices side by side.
    """

    def __init__(self) -> None:
        super().__init__()
        self.mechanism = ScaledDotProductAttention()

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor,
        project_query: Tensor,
        project_key: Tensor,
        project_value: Tensor,
        project_context: Tensor,
    ) -> Attended:
        """Projections (B,H,Kq,K), (B,H,Kk,K), (B,H,Kv,V), (B,H,V,D): context (B,T,D), weights (B,H,T,S).

        All heads share the mask. The product of the concatenated heads with one matrix is written as the sum of the
        products of each head with its part of the matrix.
        """
        heads, weights = self.mechanism(
            query.unsqueeze(1) @ project_query,  # (B,1,T,Kq) @ (B,H,Kq,K) -> (B,H,T,K)
            key.unsqueeze(1) @ project_key,
            value.unsqueeze(1) @ project_value,
            mask.unsqueeze(1),
        )
        return Attended((heads @ project_context).sum(dim=1), weights)  # (B,H,T,V) @ (B,H,V,D) -> (B,T,D)


def _mix(scores: Tensor, value: Tensor, mask: Tensor) -> Attended:
    weights = masked_softmax(scores, mask)
    return Attended(weights @ value, weights)


MECHANISMS: Mapping[str, Callable[[], nn.Module]] = {
    "scaled-dot-product": ScaledDotProductAttention,
    "dot": DotAttention,
    "additive": AdditiveCall,
    "concat": ConcatCall,
    "bilinear": BilinearCall,
    "linear": LinearAttention,
    "multi-head": MultiHeadCall,
}
"""What builds each mechanism, by its name in `models.attention.catalogue`."""


def bare_attention(config: BareAttentionConfig) -> nn.Module:
    """The mechanism that the configuration names; it has no parameters, and its output is `Attended`."""
    return MECHANISMS[config.mechanism]()

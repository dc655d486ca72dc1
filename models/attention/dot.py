"""Dot-product attention, without scale or parameters."""

from torch import Tensor

from models.attention.mechanism import Mechanism, check_width


class DotAttention(Mechanism):
    """score(q, k) = q · k, the score called "dot" by Luong et al. 2015, "Effective Approaches to Attention-based
    Neural Machine Translation", 3.1. Query and key are equally wide.
    """

    def score(self, query: Tensor, key: Tensor) -> Tensor:
        """Dot products: (...,T,K), (...,S,K) -> (...,T,S). Raises ValueError if query and key differ in K."""
        check_width("key", key, query.shape[-1])
        return query @ key.transpose(-2, -1)

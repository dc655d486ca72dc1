"""Scaled dot-product attention, the mechanism of the Transformer."""

from torch import Tensor

from models.attention.mechanism import Mechanism, check_width


class ScaledDotProductAttention(Mechanism):
    """score(q, k) = q · k / sqrt(K): Vaswani et al. 2017, "Attention Is All You Need", 3.2.1, equation 1.

    The dot product of two vectors of K independent unit components has variance K; dividing by sqrt(K) brings it back
    to one, where softmax still has useful gradients.
    """

    def score(self, query: Tensor, key: Tensor) -> Tensor:
        """Scaled dot products: (...,T,K), (...,S,K) -> (...,T,S). Raises ValueError if query and key differ in K."""
        check_width("key", key, query.shape[-1])
        # Scaling the query costs T*K multiplications, scaling the scores T*S.
        scores: Tensor = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
        return scores

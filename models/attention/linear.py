"""Linear attention: a kernel in place of the softmax, so that keys are summed up once for all queries."""

from torch import Tensor, nn
from torch.nn import functional

from models.attention.masks import causal_mask, check_mask, combine_masks
from models.attention.mechanism import Attended, check_width
from models.attention.shapes import check_lengths, key_mask


class LinearAttention(nn.Module):
    """weights = phi(q) · phi(k_s) / sum over s of the same, phi(x) = elu(x) + 1: Katharopoulos et al. 2020,
    "Transformers are RNNs", equations 4 to 7; causal, 8 to 12.

    The products of phi(k) and the value do not depend on the query: their sum serves all queries, and the T*S weights
    need never exist (`context_only`). `forward` makes them all the same, because they say what the answer rests on.
    """

    def __init__(self, *, causal: bool = False) -> None:
        super().__init__()
        self.causal = causal

    def forward(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Attended:
        """Mixes values by kernel: (...,T,K), (...,S,K), (...,S,Kv) -> context (...,T,Kv), weights (...,T,S).

        `mask` is bool, broadcasts to (...,T,S), True may attend; a query with no key to attend to gets zeros. Causal,
        the targets are the last T of the S positions, as in `causal_mask`.
        Raises ValueError if query and key differ in K, key and value in S, or the mask does not fit.
        """
        check_width("key", key, query.shape[-1])
        check_lengths(key, value)
        products = feature_map(query) @ feature_map(key).transpose(-2, -1)  # (...,T,K) @ (...,K,S)
        if mask is not None:
            check_mask(mask, products.shape)
        if self.causal:
            mask = combine_masks(mask, causal_mask(query.shape[-2], key.shape[-2], key.device)[0, 0])
        if mask is not None:
            products = products.masked_fill(~mask, 0.0)
        weights = products / _or_one(products.sum(-1, keepdim=True))
        return Attended(weights @ value, weights)

    def context_only(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
        """The context of `forward`, in time linear in T and S: (...,T,K), (...,S,K), (...,S,Kv) -> (...,T,Kv).

        `mask` is bool over keys, broadcasts to (...,1,S). Memory is K*Kv, causal S*K*Kv: a running sum a position.
        Raises ValueError as `forward` does, if the mask has rows for queries, and, causal, if T exceeds S.
        """
        check_width("key", key, query.shape[-1])
        check_lengths(key, value)
        targets = feature_map(query)
        sources = feature_map(key).masked_fill(~key_mask(mask, key).unsqueeze(-1), 0.0)
        if self.causal:
            return _running_context(targets, sources, value)
        total = targets @ sources.sum(-2).unsqueeze(-1)  # (...,T,K) @ (...,K,1)
        return targets @ (sources.transpose(-2, -1) @ value) / _or_one(total)  # (...,T,K) @ ((...,K,S) @ (...,S,Kv))


def feature_map(states: Tensor) -> Tensor:
    """phi(x) = elu(x) + 1, positive everywhere, so that weights are."""
    return functional.elu(states) + 1


def _running_context(targets: Tensor, sources: Tensor, value: Tensor) -> Tensor:
    """Sums up to each target's own position: (...,T,K), (...,S,K), (...,S,Kv) -> (...,T,Kv)."""
    skipped = sources.shape[-2] - targets.shape[-2]
    if skipped < 0:
        raise ValueError(f"{targets.shape[-2]} causal queries need as many keys, not {sources.shape[-2]}")
    summed = (sources.unsqueeze(-1) * value.unsqueeze(-2)).cumsum(-3)[..., skipped:, :, :]  # (...,T,K,Kv)
    total = (targets * sources.cumsum(-2)[..., skipped:, :]).sum(-1, keepdim=True)  # (...,T,1)
    return (targets.unsqueeze(-2) @ summed).squeeze(-2) / _or_one(total)  # (...,T,1,K) @ (...,T,K,Kv)


def _or_one(total: Tensor) -> Tensor:
    """Turns zero, the total of a row with no key, to one, so that the row divides to zeros."""
    return total.masked_fill(total == 0, 1.0)

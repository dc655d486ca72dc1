"""Copying: words are generated from a vocabulary or taken from the source, in a learned proportion."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax, logsigmoid, pad

from models.attention.mechanism import Mechanism, check_width


class Copied(NamedTuple):
    """What copy attention returns.

    context: the source mixed by the weights, (B,T,Kk).
    weights: the distribution over source positions that is copied from, (B,T,S).
    log_probabilities: of each word, (B,T,V+X): first the vocabulary, then the source's own words. An impossible word
        has a very low finite number, so that gradients stay finite; its exponential is exactly zero.
    """

    context: Tensor
    weights: Tensor
    log_probabilities: Tensor


class CopyAttention(nn.Module):
    """P(w) = p_gen · P_vocab(w) + (1 - p_gen) · Σ_{s: w_s = w} weights_s, with
    p_gen = sigmoid(w_c · context + w_q · query + w_x · input + b): See et al. 2017, "Get To The Point: Summarization
    with Pointer-Generator Networks", 2.2, equations 8 and 9.

    `num_extra` is X, how many words beyond the vocabulary one source may bring; they have the ids V to V+X-1, counted
    anew for each row. Where there is nothing to copy, p_gen is one. Raises ValueError if X is negative.
    """

    def __init__(self, d_query: int, d_key: int, d_input: int, mechanism: Mechanism, *, num_extra: int = 0) -> None:
        super().__init__()
        if num_extra < 0:
            raise ValueError(f"num_extra must not be negative, not {num_extra}")
        self.mechanism = mechanism
        self.num_extra = num_extra
        self.gate = nn.Linear(d_key + d_query + d_input, 1)
        self.widths = {"query": d_query, "key": d_key, "inputs": d_input}

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        inputs: Tensor,
        logits: Tensor,
        source_ids: Tensor,
        mask: Tensor | None = None,
    ) -> Copied:
        """Mixes two distributions over words: decoder states (B,T,Kq), source states (B,S,Kk), decoder inputs
        (B,T,d_input), vocabulary logits (B,T,V), int64 (B,S) -> context, weights, log P over V+X words.

        `source_ids` is the id of each source word in [0, V+X); where masked it must be valid but means nothing. `mask`
        is bool, broadcasts to (B,T,S), True may be copied.
        Raises ValueError if a width is not the module's, the ids do not fit the keys, or the mask does not fit.
        """
        for (name, width), tensor in zip(self.widths.items(), (query, key, inputs), strict=True):
            check_width(name, tensor, width)
        if source_ids.shape != key.shape[:2]:
            raise ValueError(f"source_ids of {tuple(source_ids.shape)} do not fit keys of {tuple(key.shape)}")
        context, weights = self.mechanism(query, key, key, mask)
        gate = self.gate(torch.cat((context, query, inputs), dim=-1))  # (B,T,1), the logit of p_gen
        return Copied(context, weights, self._mixture(gate, logits, weights, source_ids))

    def _mixture(self, gate: Tensor, logits: Tensor, weights: Tensor, source_ids: Tensor) -> Tensor:
        """Logarithm of the mixture: (B,T,1), (B,T,V), (B,T,S), (B,S) -> (B,T,V+X).

        Added up as logarithms, so that a word too improbable for a float still has its gradient.
        """
        impossible = torch.finfo(logits.dtype).min / 4  # sums of a few stay finite
        something = weights.sum(dim=-1, keepdim=True) > 0
        log_generate = torch.where(something, logsigmoid(gate), 0.0)
        log_copy = torch.where(something, logsigmoid(-gate), impossible)
        generated = pad(log_softmax(logits, dim=-1), (0, self.num_extra), value=impossible)
        ids = source_ids.unsqueeze(1).expand(weights.shape)  # (B,S) -> (B,T,S)
        copied = torch.zeros_like(generated).scatter_add(-1, ids, weights)
        occurs = copied > 0
        # The inner where keeps log(0) out of the gradient as well.
        log_copied = torch.where(occurs, torch.where(occurs, copied, 1.0).log(), impossible)
        return add_logarithms(log_generate + generated, log_copy + log_copied)


def add_logarithms(left: Tensor, right: Tensor) -> Tensor:
    """The logarithm of exp(left) + exp(right), element by element, where neither exponential need be a float.

    Written out because the exporter makes of `torch.logaddexp` the sum as it stands, which is -inf for small numbers.
    """
    larger, smaller = torch.maximum(left, right), torch.minimum(left, right)
    return larger + torch.log1p(torch.exp(smaller - larger))

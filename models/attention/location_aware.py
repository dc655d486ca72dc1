"""Location-aware attention: where it looked last guides where it looks next."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.attention.masks import check_mask, masked_softmax
from models.attention.mechanism import Attended, check_width
from models.attention.shapes import check_lengths


class LocationAwareAttention(nn.Module):
    """score = v · tanh(W q + U k_s + L f_s + b), f = F * previous weights: Chorowski et al. 2015, "Attention-Based
    Models for Speech Recognition", equations 8 and 9 (there V h_j for U k_s, and U f for L f).

    F holds `num_filters` filters of `kernel_size` positions, slid along the source over the weights of the step
    before; its features tell apart equal keys at different places, so that the attention can move on monotonically.

    Raises ValueError if `kernel_size` is not odd and positive: a filter is centred on its position.
    """

    def __init__(
        self,
        d_query: int,
        d_key: int,
        d_hidden: int,
        *,
        num_filters: int = 10,
        kernel_size: int = 31,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd and positive, not {kernel_size}")
        self.project_query = nn.Linear(d_query, d_hidden)
        self.project_key = nn.Linear(d_key, d_hidden, bias=False)
        self.filters = nn.Conv1d(1, num_filters, kernel_size, bias=False)
        self.project_location = nn.Linear(num_filters, d_hidden, bias=False)
        self.combine = nn.Parameter(torch.empty(d_hidden))
        nn.init.normal_(self.combine, std=d_hidden**-0.5)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        previous: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Attended:
        """Mixes values: (...,T,Kq), (...,S,Kk), (...,S,Kv) -> context (...,T,Kv), weights (...,T,S).

        `previous` holds each query's weights of the step before, (...,T,S), all zero unless given, as at the first
        step; T is 1 while decoding. `mask` is bool, broadcasts to (...,T,S), True may attend; what `previous` says of a
        masked key is not read, and a query with no key to attend to gets zeros.
        Raises ValueError if a width is not the module's, key and value differ in S, `previous` is not of the shape of
        the weights, or the mask does not fit.
        """
        check_width("query", query, self.project_query.in_features)
        check_width("key", key, self.project_key.in_features)
        check_lengths(key, value)
        shape = torch.Size((*query.shape[:-1], key.shape[-2]))
        if mask is not None:
            check_mask(mask, shape)
        target: Tensor = self.project_query(query).unsqueeze(-2)  # (...,T,1,d_hidden)
        source: Tensor = self.project_key(key).unsqueeze(-3)  # (...,1,S,d_hidden)
        hidden = target + source
        if previous is not None:
            if previous.shape != shape:
                raise ValueError(f"previous weights are of shape {tuple(previous.shape)}, expected {tuple(shape)}")
            kept = previous if mask is None else previous.masked_fill(~mask, 0.0)
            hidden = hidden + self.project_location(self._features(kept))
        # A column rather than a vector: ONNX Runtime's int8 product with a vector gives it the wrong shape.
        scores = (torch.tanh(hidden) @ self.combine.unsqueeze(-1)).squeeze(-1)  # (...,T,S,d_hidden) -> (...,T,S)
        weights = masked_softmax(scores, mask)
        context: Tensor = self.dropout(weights) @ value  # (...,T,S) @ (...,S,Kv)
        return Attended(context, weights)

    def _features(self, previous: Tensor) -> Tensor:
        """Slides the filters over weights: (...,T,S) -> (...,T,S,num_filters), with zeros beyond both ends."""
        half = self.filters.kernel_size[0] // 2
        # One position more on the right, cut off again, makes the convolution defined for S = 0.
        rows = functional.pad(previous.unsqueeze(-2).flatten(0, -3), (half, half + 1))  # (...*T,1,S+kernel_size)
        features: Tensor = self.filters(rows)[..., :-1]  # (...*T,num_filters,S)
        return features.transpose(1, 2).reshape(*previous.shape, self.filters.out_channels)

"""The fused state h*_t = f(h_t, c_t): what a recurrent network makes of its own state and the context."""

from typing import Literal

import torch
from torch import Tensor, nn

from models.attention.mechanism import check_width

Fusion = Literal["concat", "sum"]


class ConcatFusion(nn.Module):
    """h* = tanh(W [c; h]), the attentional state of Luong et al. 2015, 3, equation 5; no bias, as in the paper."""

    def __init__(self, d_hidden: int, d_context: int) -> None:
        super().__init__()
        self.combine = nn.Linear(d_context + d_hidden, d_hidden, bias=False)

    def forward(self, hidden: Tensor, context: Tensor) -> Tensor:
        """Fuses (...,d_hidden) and (...,d_context) -> (...,d_hidden). Raises ValueError if a width is another."""
        d_hidden = self.combine.out_features
        check_width("hidden", hidden, d_hidden)
        check_width("context", context, self.combine.in_features - d_hidden)
        return torch.tanh(self.combine(torch.cat((context, hidden), dim=-1)))


class SumFusion(nn.Module):
    """h* = g ⊙ h + (1 - g) ⊙ W_c c, g = sigmoid(W_g [c; h] + b_g): a weighted sum, element by element.

    The weights are learned and depend on both: a gate as that of a highway layer (Srivastava et al. 2015, 2), between
    the state and the context projected to its width.
    """

    def __init__(self, d_hidden: int, d_context: int) -> None:
        super().__init__()
        self.gate = nn.Linear(d_context + d_hidden, d_hidden)
        self.project_context = nn.Linear(d_context, d_hidden, bias=False)

    def forward(self, hidden: Tensor, context: Tensor) -> Tensor:
        """Fuses (...,d_hidden) and (...,d_context) -> (...,d_hidden). Raises ValueError if a width is another."""
        check_width("hidden", hidden, self.gate.out_features)
        check_width("context", context, self.project_context.in_features)
        gate = torch.sigmoid(self.gate(torch.cat((context, hidden), dim=-1)))
        projected: Tensor = self.project_context(context)
        return gate * hidden + (1 - gate) * projected


FUSIONS: dict[Fusion, type[ConcatFusion] | type[SumFusion]] = {"concat": ConcatFusion, "sum": SumFusion}


def fusion(kind: Fusion, d_hidden: int, d_context: int) -> ConcatFusion | SumFusion:
    """Builds the fusion of this name. Raises ValueError if there is none."""
    if kind not in FUSIONS:
        raise ValueError(f"fusion must be one of {', '.join(FUSIONS)}, not {kind!r}")
    return FUSIONS[kind](d_hidden, d_context)

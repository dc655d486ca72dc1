"""The moving average of the weights, which validates better than any single step's."""

from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor


class AveragedWeights(WeightAveraging):
    """Validates, checkpoints and finishes with an exponential moving average (Polyak and Juditsky 1992).

    The decay grows to `decay` over the first steps, so that the random start is soon forgotten.
    """

    def __init__(self, decay: float) -> None:
        def average(averaged: Tensor, current: Tensor, num_averaged: Tensor | int) -> Tensor:
            steps = float(num_averaged)
            kept = min(decay, (1.0 + steps) / (10.0 + steps))
            return averaged * kept + current * (1.0 - kept)

        super().__init__(avg_fn=average)

"""The learning rate over a training."""

import math


def warmup_cosine(step: int, steps: int, warmup: int) -> float:
    """The share of the peak learning rate at a step, 0..1: a linear rise over `warmup` steps, then half a cosine to 0.

    Loshchilov and Hutter 2017, equation 5, without restarts. `step` counts from 0; beyond `steps` it stays 0.
    """
    if step < warmup:
        return (step + 1) / (warmup + 1)
    progress = min(1.0, (step - warmup) / max(1, steps - warmup))
    return 0.5 * (1.0 + math.cos(math.pi * progress))

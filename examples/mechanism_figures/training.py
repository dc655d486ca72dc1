"""Trains a reader on strips of training digits and judges it on strips of held-out ones."""

import torch

from examples.mechanism_figures.reader import Reader
from examples.mechanism_figures.scans import Scans, draw_strips

BATCH = 64
LEARNING_RATE = 4e-3
JUDGED = 500
"""How many strips of held-out digits judge a reader."""


def train(reader: Reader, scans: Scans, steps: int, generator: torch.Generator) -> None:
    """Takes so many steps of Adam, the rate rising at first and falling to zero at the end."""
    optimiser = torch.optim.Adam(reader.parameters(), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=steps, pct_start=0.1)
    for _ in range(steps):
        strips = draw_strips(scans, BATCH, reader.num_digits, generator, distinct=reader.distinct)
        optimiser.zero_grad()
        torch.autograd.backward(reader.loss(*strips))
        torch.nn.utils.clip_grad_norm_(reader.parameters(), 1.0)
        optimiser.step()
        schedule.step()


def judge(reader: Reader, scans: Scans, generator: torch.Generator) -> float:
    """The share of right answers on strips of these digits."""
    return reader.accuracy(*draw_strips(scans, JUDGED, reader.num_digits, generator, distinct=reader.distinct))

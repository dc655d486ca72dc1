"""Quality on rows that no training has seen."""

from typing import Any

import torch
from torch import nn
from torch.utils.data import Dataset

from models.tasks.task import Batch, Task
from models.training.module import evaluation_loader


def measure(task: Task[Any], network: nn.Module, rows: Dataset[Batch]) -> tuple[float, int]:
    """(the mean of the task's quality metric, the number of rows); the network is in evaluation mode afterwards."""
    network.eval()
    total, count = 0.0, 0
    with torch.inference_mode():
        for batch in evaluation_loader(task, rows):
            value, size = task.score(network, batch)
            total += value
            count += size
    return total / count, count

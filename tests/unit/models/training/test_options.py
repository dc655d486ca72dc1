from pathlib import Path

import pytest
import torch

from models.registry import MODELS
from models.training.options import TINY_EPOCHS, TrainingOptions, choose_precision


def test_what_the_caller_leaves_open_is_the_models_own():
    defaults = MODELS["digits"].training
    assert TrainingOptions(run=Path("run")).hyperparameters(defaults) == defaults


def test_what_the_caller_chooses_wins_over_tiny():
    options = TrainingOptions(run=Path("run"), tiny=True, seed=7, batch_size=3)
    hyper = options.hyperparameters(MODELS["digits"].training)
    assert (hyper.epochs, hyper.seed, hyper.batch_size) == (TINY_EPOCHS, 7, 3)
    assert TrainingOptions(run=Path("run"), tiny=True, epochs=9).hyperparameters(hyper).epochs == 9


@pytest.mark.parametrize(
    ("gpu", "bf16", "chosen"), [(False, False, "32-true"), (True, True, "bf16-mixed"), (True, False, "16-mixed")]
)
def test_precision_is_mixed_only_where_there_is_a_gpu(monkeypatch, gpu, bf16, chosen):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: bf16)
    assert choose_precision("auto") == chosen
    assert choose_precision("16-mixed") == "16-mixed"

"""One training from data to checkpoint folder, through Lightning."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console
from torch import nn

from models.checkpoint import Record
from models.registry import RegisteredModel, TrainingDefaults
from models.tasks.task import PreparedData
from models.training.averaging import AveragedWeights
from models.training.errors import TrainingRefused
from models.training.evaluate import measure
from models.training.finish import describe, load_best, write_checkpoint
from models.training.identity import identity
from models.training.module import QUALITY, TrainingModule
from models.training.options import TrainingOptions, choose_precision
from models.training.progress import progress
from models.training.quiet import quiet_lightning
from models.training.run import RunFolder


def train(model: RegisteredModel, options: TrainingOptions, console: Console) -> Record | None:
    """Trains a registered model and leaves its checkpoint folder; None in all processes but the first.

    Raises models.data.DataError for unusable data, and TrainingRefused where there is nothing to resume or what is
    there is another training.
    """
    folder = RunFolder(options.run)
    resumed = folder.resume() if options.resume else None
    hyper = options.hyperparameters(model.training)
    if hyper.threads is not None:
        torch.set_num_threads(hyper.threads)
    with _codec_directory(folder, options) as directory:
        prepared = model.task.prepare(options.config(model), directory, options.data, hyper.seed)
        config = model.task.configure(options.config(model), prepared)
        torch.manual_seed(hyper.seed)
        network = model.task.build(config)
        if resumed is None:
            model.task.initialise(network, prepared, hyper.seed)
        ours = identity(model.name, prepared.provenance.fingerprint, config, hyper)
        _say(
            console,
            f"training {model.name}: {_parameters(network):,} parameters, {_examples(prepared)}, seed {hyper.seed}",
        )
        module = TrainingModule(model.task, network, prepared, hyper, ours)
        with quiet_lightning():
            trainer = _trainer(folder, options, hyper, console, "max" if model.task.higher_is_better else "min")
            try:
                trainer.fit(module, ckpt_path=resumed, weights_only=True)
            except SystemExit as error:  # how Lightning ends after Ctrl-C
                hint = "go on with --resume" if folder.last.is_file() else "no epoch was finished"
                raise TrainingRefused(f"interrupted; {hint}") from error
        if not trainer.is_global_zero:
            return None
        load_best(network, folder.best)
        value, examples = measure(model.task, network.cpu(), prepared.test)
        quality = model.task.quality(value, examples, prepared)
        record = describe(model, config, prepared, ours, quality)
        write_checkpoint(folder.checkpoint, network, prepared, record)
    return record


@contextmanager
def _codec_directory(folder: RunFolder, options: TrainingOptions) -> Iterator[Path]:
    """Where the codec's files are; further processes work on a copy, because only the first may write to the run."""
    if _is_first_process():
        if not options.resume:
            folder.start()
        yield folder.codec
        return
    with TemporaryDirectory() as copy:
        shutil.copytree(folder.codec, copy, dirs_exist_ok=True)
        yield Path(copy)


def _trainer(
    folder: RunFolder,
    options: TrainingOptions,
    hyper: TrainingDefaults,
    console: Console,
    better: Literal["max", "min"],
) -> pl.Trainer:
    best = ModelCheckpoint(
        dirpath=folder.state,
        filename="best",
        monitor=QUALITY,
        mode=better,
        save_on_train_epoch_end=True,
        enable_version_counter=False,
    )
    # After `best`, so that what is resumed knows the best epoch so far, this one included.
    last = ModelCheckpoint(
        dirpath=folder.state, filename=folder.last.stem, save_on_train_epoch_end=True, enable_version_counter=False
    )
    return pl.Trainer(
        accelerator=options.accelerator,
        devices=options.devices,
        strategy=options.strategy,
        precision=choose_precision(options.precision),
        max_epochs=hyper.epochs,
        gradient_clip_val=hyper.gradient_norm,
        callbacks=[
            best,
            last,
            AveragedWeights(hyper.average_decay),
            EarlyStopping(monitor=QUALITY, mode=better, patience=hyper.patience),
            progress(console),
        ],
        logger=CSVLogger(folder.training, name="logs"),
        log_every_n_steps=1,
        num_sanity_val_steps=0,
        enable_progress_bar=console.is_terminal,
        enable_model_summary=False,
        use_distributed_sampler=False,
        reload_dataloaders_every_n_epochs=1,
        default_root_dir=folder.training,
    )


def _say(console: Console, line: str) -> None:
    if _is_first_process():
        console.print(line, highlight=False, soft_wrap=True)


def _is_first_process() -> bool:
    """Whether this process may write: Lightning starts the others as copies of this command."""
    return int(getattr(rank_zero_only, "rank", 0)) == 0


def _parameters(network: nn.Module) -> int:
    return sum(weight.numel() for weight in network.parameters())


def _examples(prepared: PreparedData) -> str:
    return " / ".join(f"{size:,} {split}" for split, size in prepared.provenance.examples.items())

"""`python -m models train`: data to checkpoint folder, with the held-out quality."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from models.checkpoint import Record
from models.cli import app
from models.cli.run_folder import ModelArgument, one_line_errors
from models.registry import trainable_model
from models.training.options import Precision, Strategy, TrainingOptions


@app.command()
def train(
    model: ModelArgument,
    out: Annotated[Path | None, typer.Option(help="The run's folder.", show_default="runs/<model>")] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="A CSV, JSONL or Parquet file, an image folder, or a hub name, with the columns that the task takes: "
            "text or image, and label; source and target; or text.",
            show_default="data that needs no download",
        ),
    ] = None,
    tiny: Annotated[bool, typer.Option("--tiny", help="Train the tiny configuration, for tests.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last finished epoch.")] = False,
    epochs: Annotated[int | None, typer.Option(min=1, show_default="the model's")] = None,
    seed: Annotated[int | None, typer.Option(min=0, show_default="the model's")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, show_default="the model's")] = None,
    learning_rate: Annotated[float | None, typer.Option(min=0.0, show_default="the model's")] = None,
    devices: Annotated[int, typer.Option(min=1, help="Processes that train in parallel.")] = 1,
    strategy: Annotated[Strategy, typer.Option(help="How they agree: `ddp` with several devices.")] = "auto",
    precision: Annotated[Precision, typer.Option(help="`auto`: mixed where there is a GPU.")] = "auto",
    accelerator: Annotated[str, typer.Option(help="cpu, gpu, mps, or auto.")] = "auto",
) -> None:
    """Trains a registered model and measures it on held-out data."""
    from models.training.fit import train as fit  # Lightning takes seconds to import: not for `--help`

    console = Console()
    with one_line_errors():
        registered = trainable_model(model)
        options = TrainingOptions(
            run=out or Path("runs") / model,
            data=data,
            tiny=tiny,
            seed=seed,
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            resume=resume,
            devices=devices,
            strategy=strategy,
            precision=precision,
            accelerator=accelerator,
        )
        record = fit(registered, options, console)
    if record is not None:
        console.print(summary(record), highlight=False, soft_wrap=True)
        console.print(f"checkpoint: {options.run / 'checkpoint'}", highlight=False, soft_wrap=True)


def summary(record: Record) -> str:
    """Held-out quality against what is required, and the baseline's."""
    quality = record.quality
    if quality is None:
        return f"{record.model}: no quality was measured"
    verdict = "[green]enough to publish[/green]" if quality.met else "[red]publishing will be refused[/red]"
    lines = [
        f"{record.model}: {quality.metric} [bold]{quality.value:.4f}[/bold] on {quality.examples:,} held-out examples; "
        f"required {quality.required:.4f}: {verdict}"
    ]
    if quality.baseline is not None:
        lines.append(f"baseline: {quality.baseline.value:.4f} ({quality.baseline.name})")
    return "\n".join(lines)

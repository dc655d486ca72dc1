"""`python -m models evaluate`: the held-out quality of a trained checkpoint, measured again."""

from rich.console import Console

from models.cli import app
from models.cli.run_folder import ModelArgument, RunOption, checkpoint_of, one_line_errors
from models.cli.train import summary
from models.registry import trainable_model


@app.command()
def evaluate(
    model: ModelArgument,
    run: RunOption = None,
) -> None:
    """Measures a finished training again, on the same held-out data."""
    from models.training.repeat import repeat_quality  # torch takes seconds to import: not for `--help`

    with one_line_errors():
        record = repeat_quality(trainable_model(model), checkpoint_of(model, run))
    Console().print(summary(record), highlight=False, soft_wrap=True)

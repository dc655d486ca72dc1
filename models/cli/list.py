"""`python -m models list`: what can be trained."""

from rich.console import Console
from rich.table import Table

from models.cli import app
from models.registry import MODELS


@app.command("list")
def list_models() -> None:
    """Lists the registered models."""
    table = Table()
    for heading in ("model", "task", "what it does", "default data"):
        table.add_column(heading, overflow="fold")
    for model in MODELS.values():
        table.add_row(model.name, model.task.name, model.description, model.task.source)
    Console().print(table)

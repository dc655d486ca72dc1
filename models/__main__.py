"""`python -m models`: the training side's command line."""

from models.cli import alias as alias
from models.cli import app
from models.cli import attend as attend
from models.cli import evaluate as evaluate
from models.cli import explain as explain
from models.cli import export as export
from models.cli import import_ as import_
from models.cli import list as list
from models.cli import publish as publish
from models.cli import quantise as quantise
from models.cli import train as train
from models.cli import verify as verify

if __name__ == "__main__":
    app()

"""The `attendant` command: calls a server from the shell.

Exit codes: 0 answered, 1 the server refused or failed (the reason is printed), 2 wrong use, 3 no server reached.
"""

import typer

from attendant.cli.attend import attend
from attendant.cli.classify import classify
from attendant.cli.generate import generate
from attendant.cli.health import health

app = typer.Typer(
    help="Calls an Attendant server. Exit codes: 0 answered, 1 refused by the server, 2 wrong use, 3 not reached.",
    no_args_is_help=True,
    add_completion=False,
    # A traceback with local variables would show what was sent.
    pretty_exceptions_enable=False,
)
app.command()(attend)
app.command()(classify)
app.command()(generate)
app.command()(health)

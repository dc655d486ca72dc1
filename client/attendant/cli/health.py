"""`attendant health`: whether a server or a model takes requests."""

import json
from typing import Annotated

import typer

from attendant.cli.connection import ADDRESS, REFUSED, TIMEOUT_S, Address, Json, Timeout, Tls, connected
from attendant.cli.rendering import printable
from attendant.health import Health


def health(
    model: Annotated[str, typer.Argument(help="Name of the model; the whole server where left out.")] = "",
    wait_s: Annotated[
        float, typer.Option("--wait", metavar="SECONDS", min=0, help="Wait up to this long for it.")
    ] = 0.0,
    address: Address = ADDRESS,
    timeout_s: Timeout = TIMEOUT_S,
    tls: Tls = False,
    json_output: Json = False,
) -> None:
    """Says whether a server, or one model of it, takes requests; exit code 1 if not."""
    with connected(address, timeout_s, tls, json_output) as client:
        if wait_s:
            client.wait_ready(model, timeout_s=wait_s)
        state = client.health(model)
    if json_output:
        typer.echo(json.dumps({"model": model, "health": state.value}))
    else:
        typer.echo(f"{printable(model) or 'server'}: {state.value}")
    if state is not Health.SERVING:
        raise typer.Exit(REFUSED)

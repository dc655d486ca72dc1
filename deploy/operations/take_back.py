"""A version that should not have been published, and the alias that moves back, twice.

    python -m deploy.operations.take_back digits

First one that loads and answers: it takes the calls until `stable` moves back. Then one whose files were damaged on the
way into the store: every server refuses it and serves on what it had, until its folder is removed and `stable` back.
"""

import argparse
import re
import sys
from functools import partial

from deploy.operations.command import add_load, under_load
from deploy.operations.load import Load
from deploy.operations.stack import OperationFailed, Stack

ALIAS = "stable"
MEANWHILE = 300
"""Calls that a version answers before it is believed to have taken over."""

DAMAGE = """
cd "/store/$1"
next=$(($(ls | grep -xE '[0-9]+' | sort -n | tail -1) + 1))
cp -r "$2" ".damaged"
truncate -s -1000 .damaged/*.onnx
mv .damaged "$next"
echo "$next"
"""


def take_back(stack: Stack, model: str, calls: Load) -> None:
    """Publishes the model's run anew and takes it back, then does the same with a damaged copy.

    Raises OperationFailed where a command fails or the servers do not do what they should.
    """
    sound = _stable(stack, model)
    published = _train(stack, "publish", model, "--run", f"/runs/{model}", "--store", "/store", "--alias", ALIAS)
    newer = int(_found(r"version (\d+)", published))
    calls.wait_for(MEANWHILE, newer)
    print(f"version {newer} was published and answers", flush=True)
    _train(stack, "alias", model, ALIAS, "--back", "--store", "/store")
    calls.wait_for(MEANWHILE, sound)
    print(f"{ALIAS} is back at version {sound}, which answers", flush=True)

    damaged = int(_in_store(stack, DAMAGE, model, str(sound)))
    _train(stack, "alias", model, ALIAS, str(damaged), "--store", "/store")
    for replica in stack.replicas():
        stack.until(f"version {damaged} is refused", partial(_refuses, stack, replica, model, damaged))
    calls.wait_for(MEANWHILE, sound)
    print(f"version {damaged} is damaged: every server refused it and answers with version {sound}", flush=True)
    _train(stack, "alias", model, ALIAS, "--back", "--store", "/store")
    _in_store(stack, 'rm -r "/store/$1/$2"', model, str(damaged))
    calls.wait_for(MEANWHILE, sound)
    if damaged in calls.versions:
        raise OperationFailed(f"version {damaged} answered, although its files are damaged")


def _stable(stack: Stack, model: str) -> int:
    return int(_found(rf"{ALIAS} -> (\d+)", _train(stack, "alias", model, "--store", "/store")))


def _train(stack: Stack, *arguments: str) -> str:
    """Runs one step of training's command."""
    return stack.compose("run", "--rm", "--entrypoint", "python", "train", "-m", "models", *arguments)


def _in_store(stack: Stack, script: str, *arguments: str) -> str:
    """Runs a shell over the store."""
    return stack.compose("run", "--rm", "--entrypoint", "sh", "train", "-euc", script, "sh", *arguments)


def _found(pattern: str, told: str) -> str:
    found = re.search(pattern, told)
    if not found:
        raise OperationFailed(f"nothing like {pattern!r} in: {told.strip()}")
    return found[1]


def _refuses(stack: Stack, replica: str, model: str, version: int) -> bool:
    labels = (f'model="{model}"', f'version="{version}"', 'state="UNAVAILABLE"')
    told = (line for line in stack.metrics(replica).splitlines() if line.startswith("attendant_model_state{"))
    return any(line.endswith(" 1.0") and all(label in line for label in labels) for line in told)


def main() -> int:
    """Publishes and takes back; the exit code is 1 if a call failed or the operation did."""
    parser = argparse.ArgumentParser(prog="python -m deploy.operations.take_back", description=__doc__)
    parser.add_argument("model", help="a classifier of images whose run is in the volume `runs`")
    add_load(parser, None)
    arguments = parser.parse_args()
    return under_load(arguments, lambda stack, calls: take_back(stack, arguments.model, calls))


if __name__ == "__main__":
    sys.exit(main())

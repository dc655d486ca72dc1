"""What the commands share: calls go on while the operation runs, and what became of them is the exit code."""

import argparse
import sys
from collections.abc import Callable

from deploy.operations.load import CALLERS, Load, classify_image, load
from deploy.operations.stack import OperationFailed, Stack

ENVOY_PORT = 8001


def add_load(parser: argparse.ArgumentParser, model: str | None = "digits") -> None:
    """Adds the options that say what is called meanwhile."""
    if model is not None:
        parser.add_argument("--model", default=model, help="the classifier of images that is called (%(default)s)")
    parser.add_argument("--callers", type=int, default=CALLERS, help="callers at once (%(default)s)")


def under_load(arguments: argparse.Namespace, operation: Callable[[Stack, Load], None]) -> int:
    """Runs an operation while calls go on; prints what became of them, returns 1 if one or the operation failed."""
    stack = Stack()
    try:
        address = stack.address("envoy", ENVOY_PORT)
        with load(address, classify_image(arguments.model), arguments.callers) as calls:
            operation(stack, calls)
    except (OperationFailed, TimeoutError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(calls)
    return int(bool(calls.failures))

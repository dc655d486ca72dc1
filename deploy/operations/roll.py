"""From one image to the next: a new server takes calls before an old one stops, one after the other.

    python -m deploy.operations.roll attendant:next

Where a new server does not become healthy it is removed, and the old ones that are left serve on. Put the image into
`.env` as SERVER_IMAGE afterwards, so that `make up` starts the same.
"""

import argparse
import sys

from deploy.operations.command import add_load, under_load
from deploy.operations.stack import OperationFailed, Stack


def roll(stack: Stack, image: str) -> None:
    """Replaces every server by one on `image`; there is never one less than before, and at most one more.

    Raises OperationFailed where there is no such image, no server runs, or a new one does not become healthy.
    """
    stack.docker("image", "inspect", "--format", "{{.Id}}", image)
    old = stack.replicas()
    if not old:
        raise OperationFailed("no server runs; start some with `make up`")
    for leaving in old:
        before = set(stack.replicas())
        stack.scale(len(old) + 1, SERVER_IMAGE=image)
        try:
            stack.healthy(len(old) + 1)
        except OperationFailed:
            for failed in set(stack.compose("ps", "-q", "server").split()) - before:
                stack.docker("rm", "--force", failed)
            raise
        stack.remove(leaving)
        print(f"{leaving[:12]} has drained and gone; {image} runs in its place", flush=True)
    stack.healthy(len(old))


def main() -> int:
    """Rolls; the exit code is 1 if a call failed or the roll did."""
    parser = argparse.ArgumentParser(prog="python -m deploy.operations.roll", description=__doc__)
    parser.add_argument("image", help="the image to go to, which this machine must have")
    add_load(parser)
    arguments = parser.parse_args()
    return under_load(arguments, lambda stack, _: roll(stack, arguments.image))


if __name__ == "__main__":
    sys.exit(main())

"""A server is killed without a word, in the midst of its calls, and brought back.

python -m deploy.operations.crash
"""

import argparse
import sys

from deploy.operations.command import add_load, under_load
from deploy.operations.load import Load
from deploy.operations.stack import OperationFailed, Stack

MEANWHILE = 500
"""Calls that the others answer before the one that was killed comes back."""


def crash(stack: Stack, calls: Load) -> None:
    """Sends SIGKILL to the oldest server; once the others have answered for a while, starts it again.

    Raises OperationFailed where no other server would be left, or the one that was killed does not come back.
    """
    replicas = stack.replicas()
    if len(replicas) < 2:
        raise OperationFailed(f"{len(replicas)} server runs; without a second nobody answers: `make up SERVERS=2`")
    killed = replicas[0]
    stack.docker("kill", "--signal", "KILL", killed)
    print(f"{killed[:12]} was killed; {len(replicas) - 1} left", flush=True)
    calls.wait_for(MEANWHILE)
    # What a signal by hand has ended, Docker does not start again by itself, as it does after a crash.
    stack.docker("start", killed)
    stack.healthy(len(replicas))
    print(f"{killed[:12]} is back", flush=True)


def main() -> int:
    """Kills and brings back; the exit code is 1 if a call failed or the operation did."""
    parser = argparse.ArgumentParser(prog="python -m deploy.operations.crash", description=__doc__)
    add_load(parser)
    return under_load(parser.parse_args(), crash)


if __name__ == "__main__":
    sys.exit(main())

"""How PyTriton is installed and spoken to."""

from benchmarks.load.mixes import LONGEST
from benchmarks.peers.adapter import Peer
from benchmarks.peers.wire import OpenInference, Wire

VERSION = "0.7.0"


def _wire(batch: int) -> Wire:
    """Padded to one length where Triton is to join requests, as long as they are where it is not."""
    if batch > 1:
        return OpenInference("embed", mask=False, padded_to=LONGEST)
    return OpenInference("embed", mask=False, rows=False)


PEER = Peer(
    name="pytriton",
    title=f"PyTriton {VERSION}",
    version=VERSION,
    requirements=(f"nvidia-pytriton=={VERSION}",),
    wire=_wire,
    # Triton's Python stub is linked against the distribution's libpython.
    interpreter="/usr/bin/python3.11",
    variables={"BENCH_MAX_LENGTH": str(LONGEST)},
)

"""How MLServer is installed and spoken to."""

from benchmarks.peers.adapter import Peer
from benchmarks.peers.wire import BytesInference

VERSION = "1.7.1"

PEER = Peer(
    name="mlserver",
    title=f"MLServer {VERSION}",
    version=VERSION,
    # Its parallel workers do not work with a newer uvloop.
    requirements=(f"mlserver=={VERSION}", "uvloop<0.22"),
    wire=lambda batch: BytesInference("embed"),
)

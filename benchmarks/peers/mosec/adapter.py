"""How Mosec is installed and spoken to."""

from benchmarks.peers.adapter import Peer
from benchmarks.peers.wire import RawHttp

VERSION = "0.9.8"

PEER = Peer(
    name="mosec",
    title=f"Mosec {VERSION}",
    version=VERSION,
    requirements=(f"mosec=={VERSION}", "numpy"),
    wire=lambda batch: RawHttp("/inference"),
)

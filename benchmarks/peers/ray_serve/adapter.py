"""How Ray Serve is installed and spoken to."""

from benchmarks.peers.adapter import Peer
from benchmarks.peers.wire import RawHttp

VERSION = "2.60.0"

PEER = Peer(
    name="ray_serve",
    title=f"Ray Serve {VERSION}",
    version=VERSION,
    requirements=(f"ray[serve]=={VERSION}",),
    wire=lambda batch: RawHttp("/"),
)

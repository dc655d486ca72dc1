"""How LitServe is installed and spoken to."""

from benchmarks.peers.adapter import Peer
from benchmarks.peers.wire import JsonHttp

VERSION = "0.2.19"

PEER = Peer(
    name="litserve",
    title=f"LitServe {VERSION}",
    version=VERSION,
    requirements=(f"litserve=={VERSION}", "numpy"),
    wire=lambda batch: JsonHttp("/predict"),
)

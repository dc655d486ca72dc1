import sys

import pytest

from benchmarks.peers.adapter import Peer, PeerUnavailable, install
from benchmarks.peers.wire import RawHttp


def peer(**changes) -> Peer:
    fields = {"name": "some", "title": "Some 1", "version": "1", "requirements": (), "wire": lambda batch: RawHttp("/")}
    return Peer(**(fields | changes))


def test_peer_that_pip_refuses_is_unavailable_with_pips_reason(tmp_path):
    refused = peer(requirements=("not a requirement",))

    with pytest.raises(PeerUnavailable, match=r"Some 1 cannot be installed: .*[Ii]nvalid requirement"):
        install(refused, tmp_path, "fp32")


def test_peer_without_its_interpreter_is_unavailable(tmp_path):
    with pytest.raises(PeerUnavailable, match="there is no /no/such/python"):
        install(peer(interpreter="/no/such/python"), tmp_path, "fp32")


def test_module_is_that_of_the_peers_folder():
    assert peer().module == "benchmarks.peers.some.serve"
    assert peer().interpreter == sys.executable

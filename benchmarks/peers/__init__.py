"""The servers under test: ours, its peers each in its own environment, a bare echo, and plans without any server.

A peer's folder holds `adapter.py`, which says how it is installed, started and spoken to, and `serve.py`, which runs
in the peer's own environment and may import nothing of the project but `benchmarks.peers.encoder` and `orders`.
"""

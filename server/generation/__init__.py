"""Iteration-level generation: sequences join and leave a running batch at each decoding step."""

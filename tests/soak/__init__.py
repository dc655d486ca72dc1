"""Many texts against a server process, with everything that callers do to it; `python -m tests.soak`."""

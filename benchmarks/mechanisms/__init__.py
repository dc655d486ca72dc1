"""What the mechanisms cost, in time and memory, against the length of the input: `python -m benchmarks.mechanisms`."""

"""Data to train on: what is already installed, and what a user brings; each example as a caller would send it."""

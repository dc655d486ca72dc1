"""Mosec."""

"""Metrics, their exposition, logs; the only package that imports prometheus_client."""

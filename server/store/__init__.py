"""The model store: scan, verify, version policy, watch."""

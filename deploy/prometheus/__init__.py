"""The Prometheus configuration, its rules, and the check that a running Prometheus has what they ask for."""

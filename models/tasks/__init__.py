"""One task a file: its data, its network, its loss, its quality metric, its signature, its codec."""

"""Loading of versions that write token by token."""

"""The wire: both gRPC services, health, reflection, and the one table from error to status."""

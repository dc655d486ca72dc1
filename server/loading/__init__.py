"""From a folder to a version ready for its first request: verified, opened, measured, replayed."""

"""The inference server: bytes -> codec -> admission -> queue -> batch -> session -> split -> codec -> reply."""

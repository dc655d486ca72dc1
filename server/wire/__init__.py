"""The Open Inference Protocol's messages, apart from protobuf's default pool, and what reflection shows."""

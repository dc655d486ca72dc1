"""PyTriton (Triton's core with its Python backend)."""

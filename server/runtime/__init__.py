"""ONNX Runtime: sessions, providers, the core budget, warm-up; the only package that imports onnxruntime."""

"""ONNX Runtime: sessions, providers, the core budget, warm-up; the only package that imports onnxruntime."""

import os

# At its import the runtime would start telemetry and write a device's number into the home folder.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

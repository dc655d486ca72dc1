"""Encoder-decoders that Hugging Face tools exported, as bundles: three graphs become two, proven against the three.

encoder_model.onnx ───────────────────────┐
decoder_model.onnx, its cross-attention's ├─> encode.onnx   source -> keys and values of the source, its mask
  keys and values ────────────────────────┘
decoder_with_past_model.onnx ───────────────> step.onnx     one token and the states -> logits and the states
"""

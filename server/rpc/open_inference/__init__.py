"""`inference.GRPCInferenceService`: the Open Inference Protocol with Triton's extensions, over named tensors."""

SERVICE = "inference.GRPCInferenceService"

"""ONNX graphs of MEMatte and ViTMatte, written node by node, and a runner without torch."""

"""ONNX graphs of MEMatte and ViTMatte, and a runner without torch.

They are written node by node.
"""

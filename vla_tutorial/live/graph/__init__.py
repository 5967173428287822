"""The policy as an ONNX graph: its operators, its layers, and the packed file."""

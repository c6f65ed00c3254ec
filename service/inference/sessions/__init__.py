"""Sessions of ONNX Runtime: where they run, how they are run, and how they fail."""

"""Speed and memory: `python -m tests.benchmarks`, or one of them alone."""

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read when onnxruntime is imported, which each of them does

"""LitServe (Apache-2.0) on the same file: defaults, or with its faster queue, as its documentation has it for throughput.

python -m tests.benchmarks.competitors.litserve_app PORT default|tuned whole|mask
"""

import sys
from collections.abc import Callable

import litserve
from fastapi import Request, Response

from tests.benchmarks.load import BarePipeline, WholePipeline


class Segment(litserve.LitAPI):  # type: ignore[misc]  # not installed where types are checked
    """Image in, mask out."""

    def setup(self, device: str) -> None:
        self.pipeline: Callable[[bytes], bytes] = WholePipeline()

    def decode_request(self, request: Request) -> bytes:
        content: bytes = request["file"].file.read()
        return content

    def predict(self, content: bytes) -> bytes:
        return self.pipeline(content)

    def encode_response(self, mask: bytes) -> Response:
        return Response(mask, media_type="image/png")


class MaskAlone(Segment):
    """With neither areas nor confidence."""

    def setup(self, device: str) -> None:
        self.pipeline = BarePipeline(threads=1)


if __name__ == "__main__":
    port, setting, answer = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    tuned = {"fast_queue": True} if setting == "tuned" else {}
    segment = {"whole": Segment, "mask": MaskAlone}[answer](api_path="/segment")
    server = litserve.LitServer(segment, accelerator="cpu", workers_per_device=1, timeout=120, **tuned)
    server.run(host="127.0.0.1", port=port, generate_client_file=False, log_level="warning")

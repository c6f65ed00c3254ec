"""Writes tensors as the bytes of a safetensors file (github.com/huggingface/safetensors, "Format"), one after the other.

The package's `save` makes a second copy of all tensors on their device. Tensors that nearly fill a GPU's memory could not be
saved in that way.
"""

import json
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

TYPES = {
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.uint8: "U8",
}


def serialise(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> Iterator[bytes | memoryview]:
    """Yields the header, then each tensor. Raises KeyError for a dtype that is not in TYPES."""
    # Widest types first: each tensor begins at a multiple of its element size, as readers that map the file want.
    ordered = sorted(tensors.items(), key=lambda named: (-named[1].element_size(), named[0]))
    header: dict[str, object] = {"__metadata__": dict(metadata)}
    end = 0
    for name, tensor in ordered:
        begin, end = end, end + tensor.nbytes
        header[name] = {"dtype": TYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little") + text
    for _, tensor in ordered:
        yield tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data

"""The safetensors format: header length, JSON header, raw little-endian tensors. Read without torch or pickle."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

_HEADER_LENGTH_BYTES = 8
_MAX_HEADER_BYTES = 1 << 20
_DTYPES = {"F32": "<f4", "F64": "<f8", "I64": "<i8", "I32": "<i4", "I8": "i1", "U8": "u1"}


def parse(data: bytes) -> dict[str, NDArray[Any]]:
    """Read-only views into ``data``, by tensor name. ValueError when the bytes are not a safetensors file."""
    if len(data) < _HEADER_LENGTH_BYTES:
        raise ValueError("not a safetensors file: too short")
    (header_bytes,) = struct.unpack_from("<Q", data)
    start = _HEADER_LENGTH_BYTES + header_bytes
    if header_bytes > _MAX_HEADER_BYTES or start > len(data):
        raise ValueError("not a safetensors file: the header does not fit")
    header = json.loads(data[_HEADER_LENGTH_BYTES:start])
    body = memoryview(data)[start:]
    return {name: _view(body, entry) for name, entry in header.items() if name != "__metadata__"}


def _view(body: memoryview, entry: Mapping[str, Any]) -> NDArray[Any]:
    begin, end = entry["data_offsets"]
    dtype = np.dtype(_DTYPES[entry["dtype"]])
    shape = tuple(entry["shape"])
    if not 0 <= begin <= end <= len(body) or end - begin != math.prod(shape) * dtype.itemsize:
        raise ValueError("not a safetensors file: a tensor lies outside it")
    return np.frombuffer(body[begin:end], dtype).reshape(shape)


def serialize(tensors: Mapping[str, NDArray[Any]]) -> bytes:
    """The bytes of a safetensors file; the same tensors in the same order give the same bytes."""
    names = {np.dtype(dtype): name for name, dtype in _DTYPES.items()}
    header: dict[str, object] = {}
    parts: list[bytes] = []
    offset = 0
    for name, tensor in tensors.items():
        raw = np.ascontiguousarray(tensor).tobytes()
        dtype = names[tensor.dtype.newbyteorder("<")]
        header[name] = {"dtype": dtype, "shape": list(tensor.shape), "data_offsets": [offset, offset + len(raw)]}
        parts.append(raw)
        offset += len(raw)
    encoded = json.dumps(header, separators=(",", ":")).encode()
    return struct.pack("<Q", len(encoded)) + encoded + b"".join(parts)

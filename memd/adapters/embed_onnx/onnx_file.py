"""Writes ONNX model files: the few protobuf messages of ``onnx.proto`` a small graph needs, nothing left to chance.

The store is frozen to an embedding model by the digest of its file, so two machines must write the same bytes. The
serialiser of the ``onnx`` package promises no such thing across versions; this one has no options and no dependency.
Field numbers are those of onnx/onnx.proto (ModelProto, GraphProto, NodeProto, AttributeProto, TensorProto,
ValueInfoProto). Every file it writes is checked by ``onnx.checker`` in the tests.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

IR_VERSION = 8
OPSETS = (("", 18), ("com.microsoft", 1))

Specs = Mapping[str, tuple[int, Sequence[int | str]]]
"""Name -> (data type, shape); a str in a shape names a free dimension."""
Attribute = int | float | str | Sequence[int]
AnyArray = NDArray[Any]

_VARINT, _BYTES, _FIXED32 = 0, 2, 5
_ATTRIBUTE_FLOAT, _ATTRIBUTE_INT, _ATTRIBUTE_STRING, _ATTRIBUTE_INTS = 1, 2, 3, 7
FLOAT, INT64 = 1, 7
_DATA_TYPES = {"float32": FLOAT, "uint8": 2, "int8": 3, "int32": 6, "int64": INT64}


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:
        out.append((value & 0x7F) | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _int(field: int, value: int) -> bytes:
    return _varint(field << 3 | _VARINT) + _varint(value)


def _bytes(field: int, value: bytes) -> bytes:
    return b"".join((_varint(field << 3 | _BYTES), _varint(len(value)), value))


def _text(field: int, value: str) -> bytes:
    return _bytes(field, value.encode())


def _float(field: int, value: float) -> bytes:
    return _varint(field << 3 | _FIXED32) + struct.pack("<f", value)


def _attribute(name: str, value: Attribute) -> bytes:
    head = _text(1, name)
    if isinstance(value, int):
        return head + _int(3, value) + _int(20, _ATTRIBUTE_INT)
    if isinstance(value, float):
        return head + _float(2, value) + _int(20, _ATTRIBUTE_FLOAT)
    if isinstance(value, str):
        return head + _text(4, value) + _int(20, _ATTRIBUTE_STRING)
    return head + b"".join(_int(8, item) for item in value) + _int(20, _ATTRIBUTE_INTS)


def _tensor(name: str, array: AnyArray) -> bytes:
    little_endian = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    dims = b"".join(_int(1, size) for size in array.shape)
    return dims + _int(2, _DATA_TYPES[array.dtype.name]) + _text(8, name) + _bytes(9, little_endian.tobytes())


def _value_info(name: str, data_type: int, shape: Sequence[int | str]) -> bytes:
    dims = b"".join(_bytes(1, _int(1, dim) if isinstance(dim, int) else _text(2, dim)) for dim in shape)
    tensor_type = _int(1, data_type) + _bytes(2, dims)
    return _text(1, name) + _bytes(2, _bytes(1, tensor_type))


class Graph:
    """An ONNX graph under construction. Every name is given by the caller, so the file is the same every time."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._nodes: list[bytes] = []
        self._initializers: dict[str, bytes] = {}

    def constant(self, name: str, array: AnyArray) -> str:
        """Add (or find again) the initializer ``name``; returns the name."""
        if name not in self._initializers:
            self._initializers[name] = _tensor(name, array)
        return name

    def add(
        self,
        op: str,
        inputs: Sequence[str],
        *,
        name: str,
        outputs: Sequence[str] = (),
        domain: str = "",
        **attributes: Attribute,
    ) -> str:
        """Add one node; its output is called ``name`` unless ``outputs`` are given. Returns the first output."""
        outputs = tuple(outputs) or (name,)
        self._nodes.append(
            b"".join(_text(1, value) for value in inputs)
            + b"".join(_text(2, value) for value in outputs)
            + _text(3, name)
            + _text(4, op)
            + b"".join(_bytes(5, _attribute(key, attributes[key])) for key in sorted(attributes))
            + (_text(7, domain) if domain else b"")
        )
        return outputs[0]

    def serialize(self, *, inputs: Specs, outputs: Specs) -> bytes:
        """The bytes of the model file."""
        parts = [_bytes(1, node) for node in self._nodes]
        parts.append(_text(2, self._name))
        parts.extend(_bytes(5, tensor) for tensor in self._initializers.values())
        parts.extend(_bytes(11, _value_info(name, *spec)) for name, spec in inputs.items())
        parts.extend(_bytes(12, _value_info(name, *spec)) for name, spec in outputs.items())
        opsets = b"".join(_bytes(8, _text(1, domain) + _int(2, version)) for domain, version in OPSETS)
        return b"".join((_int(1, IR_VERSION), _text(2, "memd"), _bytes(7, b"".join(parts)), opsets))


def with_outputs(model: bytes, names: Sequence[str]) -> bytes:
    """``model`` with further float values as outputs: protobuf merges a message that is appended to another."""
    return model + _bytes(
        7, b"".join(_bytes(12, _value_info(name, FLOAT, (1, "pieces", f"{name}/size"))) for name in names)
    )

"""The weights in an ONNX file, read without a library: of its Protocol Buffers these few fields alone are looked at.

Source of the numbers of the fields: onnx.proto of ONNX (ModelProto, GraphProto, NodeProto, TensorProto).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

GRAPH, NODE, INITIALIZER = 7, 1, 5
NODE_INPUT, NODE_NAME, NODE_KIND = 1, 3, 4
DIMS, TENSOR_NAME, RAW = 1, 8, 9
VARINT, FIXED_64, BYTES, FIXED_32 = 0, 1, 2, 5


def read_weights(path: Path) -> dict[str, Tensor]:
    """The weights of a file, float32.

    What the exporter has left without a name is called by the node that multiplies with it: `<node>.weight`, as
    torch's linear layers have it, (out, in). What else has none keeps the exporter's `onnx::...`.
    """
    graph = next(bytes_of(memoryview(path.read_bytes()), GRAPH))
    tensors = dict(_tensor(each) for each in bytes_of(graph, INITIALIZER))
    found = {name: value for name, value in tensors.items() if "::" not in name}
    loose = {name: value for name, value in tensors.items() if "::" in name}
    for node in bytes_of(graph, NODE):
        if _text(node, NODE_KIND) != "MatMul":
            continue
        for each in bytes_of(node, NODE_INPUT):
            if (value := loose.pop(str(each, "utf-8"), None)) is not None:
                layer = _text(node, NODE_NAME).removesuffix("/MatMul").strip("/").replace("/", ".")
                found[f"{layer}.weight"] = value.T.contiguous()
    return found | loose


def fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Number and value of every field of a message, whole numbers and bytes."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        if key & 7 == VARINT:
            value, at = _varint(message, at)
            yield key >> 3, value
            continue
        if key & 7 == BYTES:
            length, at = _varint(message, at)
        else:
            length = {FIXED_32: 4, FIXED_64: 8}[key & 7]
        yield key >> 3, message[at : at + length]
        at += length


def bytes_of(message: memoryview, number: int) -> Iterator[memoryview]:
    """The values of one field that are bytes."""
    return (value for found, value in fields(message) if found == number and isinstance(value, memoryview))


def _tensor(message: memoryview) -> tuple[str, Tensor]:
    dims: list[int] = []
    for number, value in fields(message):
        if number == DIMS:
            dims += [value] if isinstance(value, int) else _packed(value)
    raw = next(bytes_of(message, RAW), memoryview(b""))
    # weights alone are float32; shapes and the like are whole numbers of other lengths, which nobody asks for
    shape = dims if len(raw) == 4 * int(np.prod(dims)) else (0,)
    return _text(message, TENSOR_NAME), torch.from_numpy(np.frombuffer(raw, "<f4", int(np.prod(shape))).copy()).reshape(
        *shape
    )


def _packed(value: memoryview) -> list[int]:
    found, at = [], 0
    while at < len(value):
        number, at = _varint(value, at)
        found.append(number)
    return found


def _text(message: memoryview, number: int) -> str:
    return str(next(bytes_of(message, number), memoryview(b"")), "utf-8")


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at, value, shift = at + 1, value | (byte & 127) << shift, shift + 7
        if byte < 128:
            return value, at

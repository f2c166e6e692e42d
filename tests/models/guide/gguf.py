"""Writes a GGUF (version 3) of the llama architecture, matrices as Q8_0, and reads Q8_0 rounding back."""

import struct

import numpy as np

U32, F32, BOOL, STRING, ARRAY, I32 = 4, 6, 7, 8, 9, 5
TYPE_F32, TYPE_Q8_0 = 0, 8
ALIGNMENT = 32


def text(value):
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def value(item):
    if isinstance(item, bool):
        return struct.pack("<I?", BOOL, item)
    if isinstance(item, int):
        return struct.pack("<II", U32, item)
    if isinstance(item, float):
        return struct.pack("<If", F32, item)
    if isinstance(item, str):
        return struct.pack("<I", STRING) + text(item)
    kind = STRING if isinstance(item[0], str) else I32
    body = b"".join(text(i) if kind == STRING else struct.pack("<i", i) for i in item)
    return struct.pack("<IIQ", ARRAY, kind, len(item)) + body


def q8_0(matrix):
    """Blocks of 32: one half-precision scale, 32 signed bytes."""
    blocks = matrix.astype(np.float32).reshape(-1, 32)
    scale = (np.abs(blocks).max(axis=1, keepdims=True) / 127).astype(np.float16)
    step = scale.astype(np.float32)
    whole = np.round(np.divide(blocks, step, out=np.zeros_like(blocks), where=step > 0))
    return scale, np.clip(whole, -127, 127).astype(np.int8)


def rounded(matrix):
    """What llama.cpp will see of a matrix after Q8_0."""
    scale, whole = q8_0(matrix)
    return (scale.astype(np.float32) * whole).reshape(matrix.shape)


def write(path, metadata, tensors):
    """`tensors`: name -> array, rows are outputs; vectors stay F32."""
    header, data = b"", b""
    for name, tensor in tensors.items():
        matrix = tensor.ndim == 2
        shape = b"".join(struct.pack("<Q", size) for size in reversed(tensor.shape))
        header += text(name) + struct.pack("<I", tensor.ndim) + shape
        header += struct.pack("<IQ", TYPE_Q8_0 if matrix else TYPE_F32, len(data))
        if matrix:
            scale, whole = q8_0(tensor)
            data += np.concatenate([scale.view(np.int8), whole], axis=1).tobytes()
        else:
            data += tensor.astype("<f4").tobytes()
        data += b"\0" * (-len(data) % ALIGNMENT)
    pairs = b"".join(text(key) + value(item) for key, item in metadata.items())
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata)) + pairs + header
    path.write_bytes(head + b"\0" * (-len(head) % ALIGNMENT) + data)

"""What a sandbox and its child say to each other over pipes: messages of several parts.

A message is the number of its parts, the length of each (8 bytes each), and the parts. Audio travels as a part of its
own, so that it is copied into the pipe and out of it, and not into pickles.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Sequence
from typing import IO, Any

LENGTH = struct.Struct("<Q")
Part = bytes | memoryview


def pickled(value: Any) -> list[Part]:
    """Return a value as the parts of a message: its pickle, and each `PickleBuffer` in it apart (PEP 574)."""
    buffers: list[pickle.PickleBuffer] = []
    data = pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL, buffer_callback=buffers.append)
    return [data, *(buffer.raw() for buffer in buffers)]


def head(parts: Sequence[Part]) -> bytes:
    """Return what goes before the parts of a message."""
    return b"".join(LENGTH.pack(size) for size in (len(parts), *map(len, parts)))


def read(pipe: IO[bytes]) -> list[bytes]:
    """Return the parts of the next message of a blocking pipe; none at its end, also if that is in a message."""
    count = pipe.read(LENGTH.size)
    if len(count) < LENGTH.size:
        return []
    lengths = pipe.read(LENGTH.size * int(LENGTH.unpack(count)[0]))
    sizes = [length for (length,) in LENGTH.iter_unpack(lengths[: len(lengths) // LENGTH.size * LENGTH.size])]
    parts = [pipe.read(size) for size in sizes]
    whole = len(sizes) == LENGTH.unpack(count)[0] and list(map(len, parts)) == sizes
    return parts if whole else []


def write(pipe: IO[bytes], parts: Sequence[Part]) -> None:
    """Write one message to a blocking pipe."""
    for part in (head(parts), *parts):
        pipe.write(part)
    pipe.flush()

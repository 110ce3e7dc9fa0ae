"""What reading a parquet footer would cost, found out without reading it.

A parquet library makes an object of some hundred bytes of every element that a footer lists, and follows the tree of
its schema by recursion: some hundred kilobytes can take gigabytes, or the stack, and with it the process. This walks
the footer (Thrift's compact protocol, the struct FileMetaData of parquet.thrift), counts, and keeps the schema only.
"""

from __future__ import annotations

import struct
from typing import Any

from resplice.transforms.records import Damage

TAIL = 8
"""Bytes behind the footer: its length and the magic."""
MAX_FOOTER = 16 << 20
MAX_DEPTH = 64
"""Levels of nested columns."""
MAX_COLUMNS = 10_000
"""Nodes of the schema."""

_MAGIC = b"PAR1"
_STRUCT_COST, _VALUE_COST = 2048, 32
_FREE, _COST_A_BYTE = 24 << 20, 80
_MAX_NESTED = 16
_TRUE, _FALSE, _BYTE, _INTEGERS, _DOUBLE, _BINARY, _LISTS, _STRUCT = 1, 2, 3, (4, 5, 6), 7, 8, (9, 10), 12
_SCHEMA, _ROWS, _CHILDREN = 2, 3, 5


def length(tail: bytes, size: int) -> int:
    """Return the length of the footer of a file of `size` bytes, from its last `TAIL` bytes.

    Raises `Damage`: `parquet_footer` (no parquet file, or its footer does not fit into it), `parquet_too_large`.
    """
    if len(tail) < TAIL or tail[-4:] != _MAGIC:
        raise Damage("parquet_footer", f"ends with {tail[-4:]!r} instead of {_MAGIC!r}")
    (found,) = struct.unpack("<I", tail[-TAIL:-4])
    if found > size - TAIL - len(_MAGIC):
        raise Damage("parquet_footer", f"a footer of {found} bytes is declared in a file of {size}")
    if found > MAX_FOOTER:
        raise Damage("parquet_too_large", f"a footer of {found} bytes, at most {MAX_FOOTER} are allowed")
    return int(found)


def check(footer: bytes) -> None:
    """Raise `Damage` unless a footer can be read at a cost that its own size explains.

    `parquet_footer`: not in the protocol, nested deeper than any footer, or a schema that is no tree of at most
    `MAX_DEPTH` levels; `parquet_too_large`: more list elements than so many bytes can mean, or more columns than
    `MAX_COLUMNS`.
    """
    try:
        fields = _Walk(footer).struct()
    except (IndexError, ValueError) as error:
        raise Damage("parquet_footer", f"the footer breaks off or is none: {error}") from None
    schema = fields.get(_SCHEMA)
    if not isinstance(schema, list) or not all(isinstance(node, dict) for node in schema):
        raise Damage("parquet_footer", "the footer has no schema")
    if len(schema) > MAX_COLUMNS:
        raise Damage("parquet_too_large", f"a schema of {len(schema)} nodes, at most {MAX_COLUMNS} are allowed")
    _check_depth([node.get(_CHILDREN, 0) for node in schema])
    if not isinstance(rows := fields.get(_ROWS), int) or rows < 0:
        raise Damage("parquet_footer", f"{rows} rows are declared")


def _check_depth(children: list[int]) -> None:
    """Follow the schema, which lists its nodes depth first, by the number of children of each."""
    open_: list[int] = []
    for count in children:
        while open_ and not open_[-1]:
            open_.pop()
        if open_:
            open_[-1] -= 1
        if count < 0 or len(open_) >= MAX_DEPTH:
            raise Damage("parquet_footer", f"a schema deeper than {MAX_DEPTH} levels, or a node with {count} children")
        open_.append(count)
    if any(open_):
        raise Damage("parquet_footer", f"the schema lacks {sum(open_)} nodes that it declares")


class _Walk:
    """The state of reading: where we are, and what the elements so far would cost in memory."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0
        self._left = _FREE + _COST_A_BYTE * len(data)

    def struct(self, level: int = 0) -> dict[int, Any]:
        """Read a struct; return its integers, and the lists of its structs, by field number."""
        fields: dict[int, Any] = {}
        number = 0
        while head := self._byte():
            number = number + (head >> 4) if head >> 4 else self._integer()
            value = self._value(head & 15, level, keep=level == 0 and number == _SCHEMA)
            if value is not None:
                fields[number] = value
        return fields

    def _value(self, kind: int, level: int, keep: bool = False) -> Any:
        """Read a value; return it if it is an integer, or a list that is to be kept."""
        if level > _MAX_NESTED:
            raise ValueError(f"more than {_MAX_NESTED} levels")
        if kind in _INTEGERS:
            return self._integer()
        if kind in _LISTS:
            return self._list(level, keep)
        if kind == _STRUCT:
            self.struct(level + 1)
        elif kind == _BINARY:
            self._skip(self._varint())
        elif kind == _DOUBLE:
            self._skip(8)
        elif kind == _BYTE:
            self._skip(1)
        elif kind not in (_TRUE, _FALSE):
            raise ValueError(f"type {kind} at byte {self._at}")
        return None

    def _list(self, level: int, keep: bool) -> list[Any] | None:
        head = self._byte()
        kind, count = head & 15, head >> 4
        count = self._varint() if count == 15 else count
        self._left -= count * (_STRUCT_COST if kind == _STRUCT else _VALUE_COST)
        if self._left < 0:
            raise Damage("parquet_too_large", f"a footer of {len(self._data)} bytes lists more than it can mean")
        if kind in (_TRUE, _FALSE):
            self._skip(count)
        elif kind == _STRUCT and keep:
            return [self.struct(level + 1) for _ in range(count)]
        else:
            for _ in range(count):
                self._value(kind, level + 1)
        return None

    def _byte(self) -> int:
        self._at += 1
        return self._data[self._at - 1]

    def _varint(self) -> int:
        value = shift = 0
        while (byte := self._byte()) & 0x80:
            value |= (byte & 0x7F) << shift
            shift += 7
            if shift > 63:
                raise ValueError(f"a number of more than 64 bits at byte {self._at}")
        return value | byte << shift

    def _integer(self) -> int:
        value = self._varint()
        return value >> 1 ^ -(value & 1)

    def _skip(self, count: int) -> None:
        self._at += count
        if self._at > len(self._data):
            raise ValueError(f"{count} bytes before byte {self._at}, there are {len(self._data)}")

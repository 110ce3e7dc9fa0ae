"""Parquet files that lie, each with the code of its refusal. A file is bytes, or writes itself.

Footers are written here in Thrift's compact protocol, as parquet.thrift declares FileMetaData.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from resplice.transforms.footer import MAX_FOOTER

MAGIC = b"PAR1"


def parquet(**options: Any) -> bytes:
    sink = io.BytesIO()
    table = pa.table({"video_id": [f"video {n}" for n in range(5000)]})
    pq.write_table(table, sink, write_page_checksum=True, compression="none", use_dictionary=False, **options)
    return sink.getvalue()


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]


def varint(value: int) -> bytes:
    low, rest = value & 0x7F, value >> 7
    return bytes([low | 0x80]) + varint(rest) if rest else bytes([low])


def number(value: int) -> bytes:
    return varint(value << 1 ^ value >> 63 if value < 0 else value << 1)


def listed(items: bytes, count: int, kind: int = 12) -> bytes:
    return (bytes([0xF0 | kind]) + varint(count) if count >= 15 else bytes([count << 4 | kind])) + items


def node(name: bytes = b"a", children: int | None = None, text: bool = False) -> bytes:
    """A SchemaElement: a group, or a column of INT32 or of text."""
    kind = b"\x35" if children is not None else b"\x15" + number(6 if text else 1) + b"\x25"
    rest = b"\x15" + number(children) if children is not None else b"\x25" + number(0) if text else b""
    return kind + number(1) + b"\x18" + varint(len(name)) + name + rest + b"\0"


def group(columns: bytes = b"", count: int = 0, size: int = 0, rows: int = 0) -> bytes:
    """A RowGroup."""
    return b"\x19" + listed(columns, count) + b"\x16" + number(size) + b"\x16" + number(rows) + b"\0"


def footer(schema: bytes, nodes: int, groups: bytes = b"", count: int = 0, rows: int = 0) -> bytes:
    """A FileMetaData."""
    lists = b"\x19" + listed(schema, nodes) + b"\x16" + number(rows) + b"\x19" + listed(groups, count)
    return b"\x15" + number(2) + lists + b"\0"


def file(footer: bytes) -> bytes:
    return MAGIC + footer + struct.pack("<I", len(footer)) + MAGIC


def sparse(size: int, length: int) -> Callable[[Path], None]:
    """Return what writes a file of `size` bytes that takes no room and declares a footer of `length` bytes."""

    def write(path: Path) -> None:
        with path.open("wb") as out:
            out.write(MAGIC)
            out.truncate(size - 8)
            out.seek(0, 2)
            out.write(struct.pack("<I", length) + MAGIC)

    return write


GOOD = parquet()
LENGTH = struct.unpack("<I", GOOD[-8:-4])[0]
FOOTER = GOOD[-8 - LENGTH : -8]
ONE = node(b"s", 1) + node(b"video_id", text=True)
CHUNK = b"\x26" + number(4) + b"\0"


def nested(levels: int) -> bytes:
    return file(footer(node(b"a", 1) * levels + node(), levels + 1))


def bomb(kilobytes: int) -> bytes:
    """Return one page of zeros that is compressed two thousandfold, in a row group that says how large it is."""
    sink = io.BytesIO()
    table = pa.table({"video_id": pa.array(["x" * 1024] * kilobytes)})
    pq.write_table(table, sink, compression="zstd", use_dictionary=False, data_page_size=1 << 30)
    return sink.getvalue()


DAMAGES: dict[str, tuple[str, bytes | Callable[[Path], None]]] = {
    "empty": ("parquet_footer", b""),
    "only magic": ("parquet_footer", b"PAR1"),
    "only both magics": ("parquet_footer", b"PAR1PAR1"),
    "no footer": ("parquet_footer", b"PAR1" + bytes(4) + b"PAR1"),
    "something else": ("parquet_footer", b"this is no parquet file at all"),
    "encrypted footer": ("parquet_footer", GOOD[:-4] + b"PARE"),
    "cut at the end": ("parquet_footer", GOOD[:-1]),
    "cut in the footer": ("parquet_footer", GOOD[:-50]),
    "cut in the middle": ("parquet_footer", GOOD[: len(GOOD) // 2]),
    "beginning is gone": ("parquet_footer", GOOD[100:]),
    "footer length too large": ("parquet_footer", GOOD[:-8] + b"\xff\xff\xff\x7fPAR1"),
    "footer length 4 GiB": ("parquet_footer", GOOD[:-8] + b"\xff\xff\xff\xffPAR1"),
    "footer length one too large": ("parquet_footer", GOOD[:-8] + struct.pack("<I", LENGTH + 1) + MAGIC),
    "footer length one too small": ("parquet_footer", GOOD[:-8] + struct.pack("<I", LENGTH - 1) + MAGIC),
    "footer is as long as the file": ("parquet_footer", GOOD[:-8] + struct.pack("<I", len(GOOD)) + MAGIC),
    "footer is noise": ("parquet_footer", GOOD[:-60] + bytes(52) + GOOD[-8:]),
    "footer of zeros": ("parquet_footer", file(bytes(1000))),
    "bytes after the end": ("parquet_footer", GOOD + b"\x00"),
    "a flipped bit in a page": ("parquet_footer", flipped(GOOD, 2000)),
    "a flipped bit in a page header": ("parquet_footer", flipped(GOOD, 6)),
    "number without end": ("parquet_footer", file(b"\x15" + b"\xff" * 500)),
    "string beyond the end": ("parquet_footer", file(b"\x28" + varint(2**40) + b"x")),
    "struct in struct in struct": ("parquet_footer", file(b"\x1c" * 100_000)),
    "list in list in list": ("parquet_footer", file(b"\x19" + b"\x19" * 100_000)),
    "no schema": ("parquet_footer", file(b"\x15\x04\x26\x00\x00")),
    "schema lacks nodes": ("parquet_footer", file(footer(node(b"s", 9) + node(), 2))),
    "node with -1 children": ("parquet_footer", file(footer(node(b"s", -1) + node(), 2))),
    "65 levels": ("parquet_footer", nested(65)),
    "3,000 levels": ("parquet_footer", nested(3000)),
    "-1 rows": ("parquet_footer", file(footer(ONE, 2, rows=-1))),
    "row group of -1 bytes": ("parquet_footer", file(footer(ONE, 2, group(CHUNK, 1, -1), 1))),
    "row group without columns": ("parquet_footer", file(footer(ONE, 2, group(rows=1), 1, 1))),
    "name that is not UTF-8": ("parquet_footer", file(footer(node(b"s", 1) + node(b"\xff"), 2))),
    "2**62 rows": ("parquet_footer", file(footer(ONE, 2, group(rows=2**62), 1, 2**62))),
    "column chunk without metadata": ("parquet_footer", file(footer(ONE, 2, group(CHUNK, 1, 9, 1), 1, 1))),
    "50,000 levels": ("parquet_too_large", nested(50_000)),
    "900,000 columns": ("parquet_too_large", file(footer(node(b"s", 900_000) + node() * 900_000, 900_001))),
    "10,000 columns": ("parquet_too_large", file(footer(node(b"s", 10_000) + node(b"n" * 40) * 10_000, 10_001))),
    "a milliard of columns, as it says": ("parquet_too_large", file(footer(ONE, 10**9))),
    "900,000 row groups": ("parquet_too_large", file(footer(ONE, 2, group() * 900_000, 900_000))),
    "900,000 column chunks": ("parquet_too_large", file(footer(ONE, 2, group(CHUNK * 900_000, 900_000), 1))),
    "a million key-values": (
        "parquet_too_large",
        file(footer(ONE, 2)[:-1] + b"\x19" + listed(b"\0" * 10**6, 10**6) + b"\0"),
    ),
    "footer of 2 GiB": ("parquet_too_large", sparse((1 << 31) + 999, (1 << 31) - 1)),
    "footer a byte above the cap": ("parquet_too_large", sparse(MAX_FOOTER + 999, MAX_FOOTER + 1)),
    "row group of 16 GiB": ("parquet_too_large", file(footer(ONE, 2, group(CHUNK, 1, (16 << 30) + 1, 1), 1, 1))),
    "two row groups of 2**62 bytes": ("parquet_too_large", file(footer(ONE, 2, group(CHUNK, 1, 2**62, 1) * 2, 2, 2))),
    "another type": ("parquet_type", file(footer(node(b"s", 1) + node(b"video_id"), 2))),
    "without the column": ("parquet_type", file(footer(node(b"s", 1) + node(b"other"), 2))),
}

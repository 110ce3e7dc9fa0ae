"""Tars in and out. Reading walks the 512-byte headers itself, so that damage is an error and never a shorter tar.

Formats read: v7, ustar, GNU (long names, base-256 sizes) and pax. Names are UTF-8; a byte that is not becomes `\\xNN`
(backslashreplace), because lone surrogates could be written to no JSON and no Parquet file. Names are normalised:
`./` and empty components are dropped.
"""

from __future__ import annotations

import re
import tarfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from resplice.transforms.records import Damage

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

MAX_MEMBERS = 100_000
MAX_EXTENDED = 64 * 1024
"""Bytes of one pax header or GNU long name."""
MAX_NAME = 4096
"""Bytes of one member name."""

_BLOCK, _HEAD = 512, 64
_MAX_SIZE = 2**63 - 1
_ZEROS_AT_ONCE = 1 << 20
_ZERO_BLOCK = bytes(_BLOCK)
_OCTAL = re.compile(rb" *([0-7]+)[ \0]*\Z")
_PAX_SIZE = re.compile(rb"[0-9]{1,20}\Z")
_PAX_LENGTH = re.compile(rb"([0-9]{1,6}) ")
_REGULAR, _DIRECTORY = (b"0", b"\0", b"7"), b"5"


class Source(Protocol):
    """Bytes that can be read anywhere: `size` bytes in all."""

    @property
    def size(self) -> int:
        """Return the number of bytes."""
        ...

    def read_at(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset` on; fewer only at the end."""
        ...


@dataclass(frozen=True)
class Member:
    """A regular file of a tar: `offset` and `size` of its data in bytes, and up to 64 of its first bytes."""

    name: str
    offset: int
    size: int
    head: bytes


def read_members(source: Source) -> list[Member]:
    """Return the regular files of a tar, in file order, reading headers and the first bytes of each file only.

    Raises `Damage` unless the tar is whole: `short_header, bad_checksum, bad_size, no_end, trailing_data,
    too_many_members, long_name, special_member, duplicate_member, unsafe_path`. A prefix of a tar is never read as a
    shorter tar: two zero blocks must follow the last member, and nothing but zeros after them.
    """
    walk = _Walk(source)
    while walk.step():
        pass
    return list(walk.members.values())


def read_member(source: Source, member: Member) -> bytes:
    """Return the data of a member. Raises `Damage("short_header")` if the tar has become shorter."""
    return _read(source, member.offset, member.size)


class _Walk:
    """The state of reading: where we are, what extended headers said, what was found."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.offset = 0
        self.members: dict[str, Member] = {}
        self.for_all: dict[str, bytes] = {}
        self.for_next: dict[str, bytes] = {}
        self.promised = False

    def step(self) -> bool:
        """Read one header and what belongs to it; return False at the end of the tar."""
        block = _read(self.source, self.offset, min(_BLOCK + _HEAD, max(0, self.source.size - self.offset)))
        header = block[:_BLOCK]
        if header == _ZERO_BLOCK[: len(header)]:
            self._end()
            return False
        if len(header) < _BLOCK:
            raise Damage("short_header", f"{len(header)} of {_BLOCK} bytes of the header at byte {self.offset}")
        _check_sum(header, self.offset)
        kind, size = header[156:157], _number(header[124:136], self.offset)
        if kind in (b"x", b"g", b"L", b"K"):
            self._extended(kind, size)
        else:
            self._member(header, kind, size, block[_BLOCK:])
        return True

    def _extended(self, kind: bytes, size: int) -> None:
        """Read a pax or GNU name header: it says something about the next member, or (`g`) about all."""
        if size > MAX_EXTENDED:
            raise Damage("long_name", f"{size} bytes of names at byte {self.offset}, at most {MAX_EXTENDED}")
        data = _read(self.source, self.offset + _BLOCK, size)
        if kind == b"L":
            self.for_next["path"] = data.split(b"\0", 1)[0]
        elif kind != b"K":
            (self.for_all if kind == b"g" else self.for_next).update(_pax(data, self.offset))
        self.promised = self.promised or kind != b"g"
        self._skip(size)

    def _member(self, header: bytes, kind: bytes, size: int, head: bytes) -> None:
        """Keep a regular file, pass over a folder, refuse anything else."""
        said = self.for_all | self.for_next
        self.for_next, self.promised = {}, False
        if kind not in (*_REGULAR, _DIRECTORY):
            raise Damage("special_member", f"type {kind!r} at byte {self.offset}; only files and folders are read")
        size = _pax_size(said["size"], self.offset) if "size" in said else size
        raw = said.get("path", _header_name(header))
        name = _safe_name(raw, self.offset)
        if kind == _DIRECTORY or raw.endswith(b"/"):
            if size:
                raise Damage("bad_size", f"folder {name!r} at byte {self.offset} has {size} bytes")
        else:
            self._keep(name, size, head)
        self._skip(size)

    def _keep(self, name: str, size: int, head: bytes) -> None:
        if not name:
            raise Damage("unsafe_path", f"the file at byte {self.offset} has no name")
        if name in self.members:
            raise Damage("duplicate_member", f"{name!r} at byte {self.offset} is there already")
        if len(self.members) >= MAX_MEMBERS:
            raise Damage("too_many_members", f"more than {MAX_MEMBERS} files")
        self.members[name] = Member(name, self.offset + _BLOCK, size, head[: min(size, _HEAD)])

    def _skip(self, size: int) -> None:
        """Go on behind the data of a header and its padding; the next read finds out if they are not there."""
        self.offset += _BLOCK + size + -size % _BLOCK

    def _end(self) -> None:
        """Check that the tar ends here as it must."""
        if self.promised:
            raise Damage("short_header", f"no member follows the name header before byte {self.offset}")
        start, rest = self.offset, self._rest(self.offset)
        if rest[: 2 * _BLOCK] != 2 * _ZERO_BLOCK:
            raise Damage("no_end", f"no two zero blocks at byte {start} of {self.source.size}")
        while rest:
            if rest != bytes(len(rest)):
                raise Damage("trailing_data", f"data in bytes {start} to {start + len(rest)}, behind the end")
            start += len(rest)
            rest = self._rest(start)

    def _rest(self, start: int) -> bytes:
        """Read the next piece of what is behind the last member; nothing at the end of the tar."""
        return _read(self.source, start, max(0, min(_ZEROS_AT_ONCE, self.source.size - start)))


class TarWriter:
    """Write a tar to a binary file: the same members in the same order give the same bytes.

    No clock, owner or mode of the machine; ustar headers, with a pax header only where a name or a size does not fit;
    two zero blocks at the end and no more padding. What `read_members` would refuse is a ValueError.
    """

    def __init__(self, file: SupportsWrite[bytes]) -> None:
        self._file = file
        self._names: set[str] = set()

    def add(self, name: str, data: bytes) -> None:
        """Write one member."""
        self.add_stream(name, len(data), [data])

    def add_stream(self, name: str, size: int, chunks: Iterable[bytes]) -> None:
        """Write one member of `size` bytes from chunks. After a ValueError about them the tar is to be discarded."""
        self._file.write(self._header(name, size))
        written = 0
        for chunk in chunks:
            written += len(chunk)
            if written > size:
                break
            self._file.write(chunk)
        if written != size:
            raise ValueError(f"member {name!r}: {size} bytes announced, {written} or more given; write the tar again")
        self._file.write(bytes(-size % _BLOCK))

    def close(self) -> None:
        """Write the end of the tar. The file stays open: it belongs to the caller."""
        self._file.write(2 * _ZERO_BLOCK)

    def _header(self, name: str, size: int) -> bytes:
        _check_new_name(name, self._names)
        self._names.add(name)
        info = tarfile.TarInfo(name)
        info.size = size
        try:
            return info.tobuf(tarfile.USTAR_FORMAT, "ascii", "strict")
        except ValueError:  # not ASCII, too long, or 8 GiB and more
            return info.tobuf(tarfile.PAX_FORMAT, "ascii", "strict")


def _check_new_name(name: str, taken: set[str]) -> None:
    """Raise ValueError for a name that the reader would refuse or change."""
    try:
        kept = _safe_name(name.encode(), 0)
    except Damage as damage:
        raise ValueError(f"member {name!r}: {damage.code}; give a relative path without `..`") from damage
    if kept != name or name in taken:
        raise ValueError(f"member {name!r} is {'there already' if name in taken else f'not normal; give {kept!r}'}")


def _read(source: Source, offset: int, length: int) -> bytes:
    """Read exactly `length` bytes; never ask for what the tar cannot have."""
    if offset + length > source.size:
        raise Damage("short_header", f"bytes up to {offset + length} promised, the tar has {source.size}")
    data = source.read_at(offset, length) if length else b""
    if len(data) != length:
        raise Damage("short_header", f"{len(data)} of {length} bytes could be read at byte {offset}")
    return data


def _check_sum(header: bytes, offset: int) -> None:
    """Compare the checksum: the field itself counts as spaces; some old writers summed signed bytes."""
    match = _OCTAL.match(header[148:156])
    declared = int(match[1], 8) if match else "no number"
    unsigned = _byte_sum(header) - _byte_sum(header[148:156]) + 8 * ord(" ")
    if declared == unsigned:
        return
    signed = unsigned - 256 * sum(byte > 127 for byte in header[:148] + header[156:])
    if declared != signed:
        raise Damage("bad_checksum", f"header at byte {offset}: {declared} declared, {unsigned} found")


def _byte_sum(block: bytes) -> int:
    """Add up the bytes of at most two half blocks: the low word of Adler-32 is 1 + their sum, modulo 65521 (RFC 1950).

    No half block reaches the modulus, so the sum is exact, and seven times faster than `sum`.
    """
    half = _BLOCK // 2
    return (zlib.adler32(block[:half]) & 0xFFFF) + (zlib.adler32(block[half:]) & 0xFFFF) - 2


def _number(field: bytes, offset: int) -> int:
    """Read a size: octal digits, or base-256 if the first bit is set (GNU)."""
    match = _OCTAL.match(field)
    if match:
        return int(match[1], 8)
    value = int.from_bytes(field[1:], "big")
    if field[0] != 0x80 or value > _MAX_SIZE:
        raise Damage("bad_size", f"size field {field!r} of the header at byte {offset}")
    return value


def _pax_size(field: bytes, offset: int) -> int:
    if not _PAX_SIZE.match(field) or int(field) > _MAX_SIZE:
        raise Damage("bad_size", f"pax size {field[:24]!r} for the header at byte {offset}")
    return int(field)


def _pax(data: bytes, offset: int) -> dict[str, bytes]:
    """Return what matters of pax records `LENGTH KEY=VALUE\\n`: path and size. Refuse sparse files."""
    found: dict[str, bytes] = {}
    start = 0
    while start < len(data):
        match = _PAX_LENGTH.match(data, start)
        end = start + int(match[1]) if match else 0
        key, equals, value = data[match.end() if match else start : max(0, end - 1)].partition(b"=")
        if not match or not equals or data[end - 1 : end] != b"\n":
            raise Damage("bad_size", f"pax header at byte {offset}: a record has not the length it declares")
        if key.startswith(b"GNU.sparse."):
            raise Damage("special_member", f"sparse file announced by the pax header at byte {offset}")
        if key in (b"path", b"size"):
            found[key.decode()] = value
        start = end
    return found


def _header_name(header: bytes) -> bytes:
    """Return the name of a header; only POSIX ustar has a prefix (GNU keeps times there)."""
    name = header[:100].split(b"\0", 1)[0]
    prefix = header[345:500].split(b"\0", 1)[0] if header[257:263] == b"ustar\0" else b""
    return prefix + b"/" + name if prefix else name


def _safe_name(raw: bytes, offset: int) -> str:
    """Return a normalised relative name ("" for the folder itself)."""
    if len(raw) > MAX_NAME:
        raise Damage("long_name", f"{len(raw)} bytes for the header at byte {offset}, at most {MAX_NAME}")
    name = raw.decode("utf-8", "backslashreplace")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if not raw or raw.startswith(b"/") or ".." in parts or "\0" in name:
        raise Damage("unsafe_path", f"{name!r} at byte {offset}; a name is relative and has no `..`")
    return "/".join(parts)

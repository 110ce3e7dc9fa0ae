"""Write the demo's tars byte for byte the same every time, and break them in the ways that tars break."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable

BLOCK = 512
SIZE_FIELD, SUM_FIELD = slice(124, 136), slice(148, 156)

Member = tuple[str, bytes]


def tar_bytes(members: Iterable[Member], tar_format: int = tarfile.USTAR_FORMAT, folders: Iterable[str] = ()) -> bytes:
    """Return a tar of `folders` (directory entries) and `members` in the given order, without clock or owner."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=tar_format) as tar:
        for folder in folders:
            entry = tarfile.TarInfo(folder)
            entry.type = tarfile.DIRTYPE
            tar.addfile(entry)
        for name, data in members:
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return target.getvalue()


def offsets(tar: bytes) -> list[int]:
    """Return where the header of each member begins."""
    with tarfile.open(fileobj=io.BytesIO(tar)) as opened:
        return [member.offset for member in opened.getmembers()]


def cut_mid_member(tar: bytes) -> bytes:
    """Return the tar broken off inside the data of its second member."""
    return tar[: offsets(tar)[1] + BLOCK + 700]


def cut_at_boundary(tar: bytes) -> bytes:
    """Return the tar broken off exactly where its last member would begin: fewer members and no end blocks."""
    return tar[: offsets(tar)[-1]]


def shortened(tar: bytes) -> bytes:
    """Return what a crashed writer that still closed its file leaves: a valid tar without its last members."""
    places = offsets(tar)
    return tar[: places[len(places) // 2]] + bytes(2 * BLOCK)


def garbage(tar: bytes) -> bytes:
    """Return bytes of the same length that are no tar at all."""
    return (b"this is not a tar archive; " * (len(tar) // 27 + 1))[: len(tar)]


def bad_checksum(tar: bytes) -> bytes:
    """Return the tar with one letter of its second member's name changed under the old checksum."""
    at = offsets(tar)[1]
    return tar[:at] + bytes([tar[at] ^ 1]) + tar[at + 1 :]


def bad_size(tar: bytes) -> bytes:
    """Return the tar with a negative size in its second header, whose checksum is right."""
    at = offsets(tar)[1]
    header = bytearray(tar[at : at + BLOCK])
    header[SIZE_FIELD] = b"\xff" * 12
    header[SUM_FIELD] = b" " * 8
    header[SUM_FIELD] = b"%06o\0 " % sum(header)
    return tar[:at] + bytes(header) + tar[at + BLOCK :]


def trailing_data(tar: bytes) -> bytes:
    """Return the tar with something after its end blocks."""
    return tar + b"left over from a longer file".ljust(BLOCK, b"\0")


def with_symlink(tar: bytes) -> bytes:
    """Return the tar with a symbolic link as its first member."""
    link = tarfile.TarInfo("segments.flac")
    link.type, link.linkname = tarfile.SYMTYPE, "elsewhere.flac"
    return link.tobuf(tarfile.USTAR_FORMAT) + tar


def with_unsafe_path(tar: bytes) -> bytes:
    """Return the tar with a first member that would land outside of the folder it is unpacked in."""
    return tarfile.TarInfo("../outside.json").tobuf(tarfile.USTAR_FORMAT) + tar


def no_bytes(tar: bytes) -> bytes:
    """Return an empty file."""
    return b""


def no_members(tar: bytes) -> bytes:
    """Return a readable tar without any member."""
    return bytes(20 * BLOCK)

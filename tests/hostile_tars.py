"""Tars that lie, each with the code of its refusal."""

from __future__ import annotations

import itertools
import tarfile
from collections.abc import Callable

from resplice.io.tars import MAX_MEMBERS

END = bytes(1024)


def sealed(header: bytes, signed: bool = False) -> bytes:
    blank = header[:148] + b" " * 8 + header[156:]
    total = sum(byte - 256 if signed and byte > 127 else byte for byte in blank)
    return header[:148] + b"%06o\0 " % total + header[156:]


def header(path: str = "a", length: int = 0, kind: bytes = b"0", **fields: bytes) -> bytes:
    info = tarfile.TarInfo(path)
    info.size, info.type = length, kind
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT)[-512:])
    for key, value in fields.items():
        start = {"name": 0, "size": 124, "magic": 257, "prefix": 345}[key]
        block[start : start + len(value)] = value
    return sealed(bytes(block))


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 512)


def pax(records: bytes, kind: bytes = b"x") -> bytes:
    return header("p", len(records), kind) + padded(records)


def record(key: str, value: str) -> bytes:
    body = f" {key}={value}\n".encode()
    length = next(n for n in itertools.count(len(body)) if n == len(body) + len(str(n)))
    return str(length).encode() + body


TWO = header("a", 3) + padded(b"abc") + header("b", 600) + padded(b"x" * 600)


def many(count: int) -> bytes:
    """A tar of `count` empty files."""
    blank = bytearray(header("0" * 7)[:512])
    blank[148:156] = b" " * 8
    base = sum(blank) - 7 * ord("0")
    made = []
    for number in range(count):
        name = b"%07d" % number
        blank[:7], blank[148:156] = name, b"%06o\0 " % (base + sum(name))
        made.append(bytes(blank))
    return b"".join(made) + END


DAMAGES: dict[str, tuple[str, bytes | Callable[[], bytes]]] = {
    "empty file": ("no_end", b""),
    "cut inside a header": ("short_header", TWO[:100]),
    "cut inside the second header": ("short_header", TWO[:1124]),
    "cut inside data": ("short_header", TWO[:1700]),
    "cut inside the head of data": ("short_header", TWO[:513]),
    "data beyond the end": ("short_header", header("a", 10**9) + padded(b"abc") + END),
    "name header without its member": ("short_header", pax(record("path", "n")) + END),
    "time header without its member": ("short_header", pax(record("mtime", "1")) + END),
    "one bit of the name": ("bad_checksum", b"b" + TWO[1:] + END),
    "checksum is text": ("bad_checksum", TWO[:148] + b"checksum" + TWO[156:] + END),
    "text instead of a tar": ("bad_checksum", b"no tar " * 300),
    "negative octal size": ("bad_size", header(size=b"-0000000001\0") + END),
    "negative base-256 size": ("bad_size", header(size=b"\xff" * 11 + b"\x00") + END),
    "absurd base-256 size": ("bad_size", header(size=b"\x80" + b"\x7f" * 11) + END),
    "base-256 size of 89 bits": ("bad_size", header(size=b"\x81" + bytes(11)) + END),
    "large base-256 size": ("short_header", header(size=b"\x80" + bytes(4) + b"\x7f" * 7) + END),
    "size is text": ("bad_size", header(size=b"12 bytes   \0") + END),
    "size is blank": ("bad_size", header(size=bytes(12)) + END),
    "size with a digit 8": ("bad_size", header(size=b"00000000008\0") + END),
    "negative pax size": ("bad_size", pax(record("size", "-1")) + TWO + END),
    "absurd pax size": ("bad_size", pax(record("size", "9" * 40)) + TWO + END),
    "huge pax size": ("bad_size", pax(record("size", str(2**63))) + TWO + END),
    "pax size beyond the end": ("short_header", pax(record("size", str(2**62))) + TWO + END),
    "pax record longer than its header": ("bad_size", pax(b"99 path=a\n") + TWO + END),
    "pax record of length 0": ("bad_size", pax(b"0 path=a\n") + TWO + END),
    "pax record without length": ("bad_size", pax(b"path=a\n") + TWO + END),
    "pax record without `=`": ("bad_size", pax(b"7 path\n") + TWO + END),
    "folder with data": ("bad_size", header("d/", 512, b"5") + bytes(512) + END),
    "v7 folder with data": ("bad_size", header("d", 512, b"\0", name=b"d/\0") + bytes(512) + END),
    "cut at a member boundary": ("no_end", TWO[:1024]),
    "no zero block": ("no_end", TWO),
    "part of a zero block": ("no_end", TWO + bytes(511)),
    "one zero block": ("no_end", TWO + bytes(512)),
    "one and a half zero blocks": ("no_end", TWO + bytes(1023)),
    "one zero block between members": ("no_end", TWO + bytes(512) + header("c") + END),
    "data behind the end": ("trailing_data", TWO + END + b"x"),
    "two tars in one file": ("trailing_data", TWO + END + TWO + END),
    "data far behind the end": ("trailing_data", TWO + bytes(3 << 20) + b"x" + bytes(99)),
    "GNU long name of 64 KiB + 1": ("long_name", header("L", 65537, b"L") + padded(b"n" * 65537) + TWO + END),
    "GNU long link of 1 GiB": ("long_name", header("K", 1 << 30, b"K") + TWO + END),
    "pax header of 1 GiB": ("long_name", header("p", 1 << 30, b"x") + TWO + END),
    "pax header of 64 KiB + 1": ("long_name", pax(record("comment", "c" * (65537 - 15))) + TWO + END),
    "global pax header of 1 GiB": ("long_name", header("p", 1 << 30, b"g") + TWO + END),
    "GNU name of 4097 bytes": ("long_name", header("L", 4097, b"L") + padded(b"n" * 4097) + TWO + END),
    "pax name of 4097 bytes": ("long_name", pax(record("path", "n" * 4097)) + TWO + END),
    "hard link": ("special_member", header(kind=b"1") + END),
    "symbolic link": ("special_member", header(kind=b"2") + END),
    "character device": ("special_member", header(kind=b"3") + END),
    "block device": ("special_member", header(kind=b"4") + END),
    "FIFO": ("special_member", header(kind=b"6") + END),
    "GNU sparse file": ("special_member", header(kind=b"S") + END),
    "multi-volume": ("special_member", header(kind=b"M") + END),
    "unknown type": ("special_member", header(kind=b"Z") + END),
    "pax sparse 1.0": ("special_member", pax(record("GNU.sparse.major", "1")) + TWO + END),
    "pax sparse 0.0 for all": ("special_member", pax(record("GNU.sparse.size", "9"), b"g") + TWO + END),
    "same name twice": ("duplicate_member", header("a") + header("b") + header("a") + END),
    "same name with ./": ("duplicate_member", header("a") + header("./a") + END),
    "same name with //": ("duplicate_member", header("d/a") + header("d//a") + END),
    "same name by pax": ("duplicate_member", header("a") + pax(record("path", "a")) + header("b") + END),
    "path of all": ("duplicate_member", pax(record("path", "a"), b"g") + header("b") + header("c") + END),
    "absolute path": ("unsafe_path", header("/etc/passwd") + END),
    "absolute folder": ("unsafe_path", header("/etc/", kind=b"5") + END),
    "path upwards": ("unsafe_path", header("a/../../b") + END),
    "pax path upwards": ("unsafe_path", pax(record("path", "../b")) + header("b") + END),
    "GNU path upwards": ("unsafe_path", header("L", 4, b"L") + padded(b"../x") + header("b") + END),
    "prefix upwards": ("unsafe_path", header("b", magic=b"ustar\00000", prefix=b"..") + END),
    "NUL in a pax path": ("unsafe_path", pax(record("path", "a\0b")) + header("b") + END),
    "file without a name": ("unsafe_path", header("x", name=b"\0") + END),
    "file that is the folder itself": ("unsafe_path", header("x", name=b".\0") + END),
    "tabs and backslashes upwards": ("unsafe_path", header("a\\b/../c") + END),
    "folder upwards": ("unsafe_path", header("../", kind=b"5") + END),
    "pax path that is absolute": ("unsafe_path", pax(record("path", "/b")) + header("b") + END),
    "absolute path of all": ("unsafe_path", pax(record("path", "/b"), b"g") + header("b") + END),
    "more files than the cap": ("too_many_members", lambda: many(MAX_MEMBERS + 1)),
    "same name by a GNU name": (
        "duplicate_member",
        header("a") + header("L", 1, b"L") + padded(b"a") + header("b") + END,
    ),
    "same name by a prefix": ("duplicate_member", header("d/a") + header("a", magic=b"ustar\00000", prefix=b"d") + END),
    "same name, the second with data": ("duplicate_member", header("a") + header("a", 3) + padded(b"abc") + END),
    "old GNU folder dump": ("special_member", header(kind=b"D") + END),
    "GNU volume label": ("special_member", header(kind=b"V") + END),
    "name headers without end": ("short_header", (header("L", 1, b"L") + padded(b"n")) * 20_000),
    "pax header of tiny records": ("no_end", pax(b"5 a=\n" * 13_000) + header("b")),
    "empty pax path": ("unsafe_path", pax(record("path", "")) + header("b") + END),
}

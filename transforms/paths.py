r"""Paths of audio files: which are audio, how they are written as text, which spellings are one path, and paths files.

A path is *native* where the file system takes it (a name that is not UTF-8 holds surrogates, as `os.fsdecode` gives
it), and *text* everywhere else: in elements, JSON, parquet and paths files. In text a byte that is not UTF-8, a newline
and a carriage return are written `\xHH` (two lower-case digits), and so is a backslash that would begin such an escape.
A Windows path (`C:\…`, `\\server\…`) has no escapes: its backslashes separate.

The *normalised* text of a path is its identity: keys of a library, rows and checkpoints have it, comparisons use it.
It need not open the file (a disk may spell a name in another Unicode form), so both are carried.
"""

from __future__ import annotations

import posixpath
import re
import unicodedata
from collections.abc import Iterable, Iterator

from resplice.transforms.records import UserError

EXTENSIONS = frozenset({".wav", ".flac", ".mp3", ".m4a", ".aiff", ".aif", ".ogg", ".opus"})
S3 = "s3://"
_ESCAPES = r"x(?:0a|0d|5c|[89a-f][0-9a-f])"
_ESCAPE = re.compile(rf"\\{_ESCAPES}")
_NORMAL = re.compile(r"(?:/[^/.\\][^/\\]*)+")  # nearly every path: seen at a glance
_BACKSLASH = re.compile(rf"\\(?!{_ESCAPES})")
_ESCAPED = re.compile(rf"[\n\r\udc80-\udcff]|\\(?={_ESCAPES}|[\n\r\udc80-\udcff])")
_BYTE = re.compile("[\udc80-\udcff]")
_WINDOWS = re.compile(r"[A-Za-z]:(?:[\\/]|\Z)|\\\\")
_BLANKS = " \t\r"
_BOM = "\ufeff"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


def is_audio(name: str) -> bool:
    """Return whether a walk of folders takes a file of this name (or path): an extension of EXTENSIONS, in any case."""
    return posixpath.splitext(name)[1].lower() in EXTENSIONS and not is_junk(name)


def is_junk(path: str) -> bool:
    """Return whether a walk drops what has this name or relative path: `._*` and what is below `__MACOSX`."""
    *folders, name = path.split("/")
    return name.startswith("._") or "__MACOSX" in (*folders, name)


def escaped(path: str) -> str:
    """Return the text of a native path. UserError for a Windows path with what only an escape could write."""
    if _is_windows(path):
        if re.search("[\n\r\ud800-\udfff]", path):
            raise UserError(f"{path!r} cannot be written as text: a Windows path has no escapes; rename the file")
        return path
    return _ESCAPED.sub(lambda match: _escape(match[0]), path)


def _escape(char: str) -> str:
    return f"\\x{ord(char) & 0xFF:02x}"


def unescaped(text: str) -> str:
    """Return the native path of a text."""
    return text if _is_windows(text) else _ESCAPE.sub(lambda match: _unescape(match[0]), text)


def _unescape(escape: str) -> str:
    byte = int(escape[2:], 16)
    return chr(byte if byte < 0x80 else 0xDC00 + byte)


def _is_windows(path: str) -> bool:
    return _WINDOWS.match(path) is not None


def normal(text: str) -> str:
    r"""Return the normalised text of a path: `/` between parts and none at the end, no `.` part, the drive letter in
    upper case, Unicode NFC; letters keep their case, and `..` stays. A key of an old library may hold surrogates.
    """
    if text.isascii() and _NORMAL.fullmatch(text):
        return text
    text = _BYTE.sub(lambda match: _escape(match[0]), text)
    if text.startswith(S3):  # there, `a//b` and `a\b` are names of their own
        return S3 + _composed(text[len(S3) :]).rstrip("/")
    path = unicodedata.normalize("NFC", text)
    windows = _is_windows(path)
    path = path.replace("\\", "/") if windows else _BACKSLASH.sub("/", _composed(text))
    first, *others = path.split("/")
    tidy = "/".join([first, *(part for part in others if part not in ("", "."))])
    root = "/" if path.startswith("//") else ""
    path = (root + tidy) or path[:1]
    return path[0].upper() + path[1:] if windows else path


def _composed(text: str) -> str:
    """Return text in Unicode NFC; the last digit of an escape takes no accent."""
    pieces = (unicodedata.normalize("NFC", piece) for piece in _ESCAPE.split(text))
    return next(pieces) + "".join(map("".join, zip(_ESCAPE.findall(text), pieces, strict=True)))


def is_absolute(path: str) -> bool:
    """Return whether a path stands for itself: from the root, on a drive or server, or in a store."""
    return path.startswith(("/", S3)) or _is_windows(path)


def below(folder: str, text: str) -> str:
    """Return the text of a path that is relative to a folder, of which the text is given; an absolute one is itself.
    `..` takes back the part before it.
    """
    tidy = text if is_absolute(text) else _BACKSLASH.sub("/", text)
    if is_absolute(tidy) or not folder:
        return text
    return f"{folder}/{tidy}" if folder.startswith(S3) else posixpath.normpath(f"{folder}/{tidy}")


def read(data: bytes, name: str) -> list[str]:
    r"""Return the texts of the paths in a paths file, in its order, as they are spelled there.

    UTF-8 with or without a byte order mark (a line that is not is taken byte for byte), one path a line, blanks around
    it dropped; empty lines and those that begin with `#` are skipped, `\#` begins a path with `#`; one pair of quotes
    is stripped, and what is in it is the path, blanks and `#` too. `name` names the file in errors: UserError for one
    that is no text.
    """
    if data.startswith(_UTF_16) or b"\0" in data:
        raise UserError(f"{name} is no list of paths: it is not UTF-8 text; save it as UTF-8, one path a line")
    lines = data.decode("utf-8", "surrogateescape").removeprefix(_BOM).split("\n")
    return list(_entries(lines))


def _entries(lines: Iterable[str]) -> Iterator[str]:
    for line in lines:
        entry = line.strip(_BLANKS)
        if not entry or entry.startswith("#"):
            continue
        if len(entry) > 1 and entry[0] == entry[-1] and entry[0] in "\"'":
            entry = entry[1:-1]
        elif entry.startswith("\\#"):
            entry = entry[1:]
        if entry:
            yield _BYTE.sub(lambda match: _escape(match[0]), entry)


def written(texts: Iterable[str]) -> bytes:
    """Return the paths file of some paths: `read` returns just these."""
    return "".join(f"{_entry(text)}\n" for text in texts).encode()


def _entry(text: str) -> str:
    """Return the line of a path; in quotes if the line alone would be read as another."""
    plain = text == text.strip(_BLANKS) and not text.startswith(("#", "\\#", '"', "'", _BOM))
    return text if plain else f'"{text}"'

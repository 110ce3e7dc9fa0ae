"""JSON documents that no reader may take, with the code of the refusal. A document is bytes, or writes its file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from resplice.io.documents import MAX_BYTES


def sparse(head: bytes, size: int) -> Callable[[Path], None]:
    """Return what writes a file of `size` bytes that takes no room."""

    def write(path: Path) -> None:
        with path.open("wb") as file:
            file.write(head)
            file.truncate(size)

    return write


def _keys(count: int) -> bytes:
    return b",".join(b'"%d":0' % n for n in range(count))


DAMAGES: dict[str, tuple[str, bytes | Callable[[Path], None]]] = {
    "empty": ("json_invalid", b""),
    "blank": ("json_invalid", b" \n"),
    "cut": ("json_invalid", b'{"a": [1, 2'),
    "cut in a string": ("json_invalid", b'{"a": "b'),
    "two values": ("json_invalid", b"{} {}"),
    "comma at the end": ("json_invalid", b'{"a": 1,}'),
    "comment": ("json_invalid", b'{"a": 1} // one'),
    "single quotes": ("json_invalid", b"{'a': 1}"),
    "NaN": ("json_invalid", b'{"a": NaN}'),
    "Infinity": ("json_invalid", b"[Infinity]"),
    "-Infinity": ("json_invalid", b"[-Infinity]"),
    "1e400": ("json_invalid", b"[1e400]"),
    "-1e999999999": ("json_invalid", b"[-1e999999999]"),
    "an integer of a million digits": ("json_invalid", b"[" + b"9" * 10**6 + b"]"),
    "a fraction of a million digits and a huge exponent": ("json_invalid", b"[0." + b"9" * 10**6 + b"e999]"),
    "leading zero": ("json_invalid", b"[01]"),
    "raw control character": ("json_invalid", b'["\x01"]'),
    "NUL behind": ("json_invalid", b"{}\0"),
    "byte order mark": ("json_invalid", b"\xef\xbb\xbf{}"),
    "UTF-16": ("json_invalid", '{"a": 1}'.encode("utf-16")),
    "UTF-32 without a mark": ("json_invalid", '{"a": 1}'.encode("utf-32-le")),
    "Latin-1": ("json_invalid", '{"a": "ä"}'.encode("latin-1")),
    "overlong UTF-8": ("json_invalid", b'["\xc0\xaf"]'),
    "a surrogate in UTF-8": ("json_invalid", b'["\xed\xa0\x80"]'),
    "half a surrogate pair": ("json_invalid", b'["\\ud800"]'),
    "half a surrogate pair in a key": ("json_invalid", b'{"\\uDC00": 1}'),
    "surrogates the wrong way round": ("json_invalid", b'["\\udc00\\ud800"]'),
    "100,000 lists deep": ("json_invalid", b"[" * 100_000 + b"]" * 100_000),
    "100,000 objects deep": ("json_invalid", b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
    "10 MB of brackets": ("json_invalid", b"[" * 10_000_000),
    "noise": ("json_invalid", bytes(range(256)) * 4),
    "key twice": ("json_duplicate_key", b'{"a": 1, "a": 1}'),
    "key twice, written differently": ("json_duplicate_key", b'{"a": 1, "\\u0061": 2}'),
    "key twice, far inside": ("json_duplicate_key", b'[{"b": [{"a": 1, "c": 2, "a": 3}]}]'),
    "the last of 100,000 keys twice": ("json_duplicate_key", b"{" + _keys(100_000) + b',"99999":1}'),
    "a key of a million letters twice": ("json_duplicate_key", b'{"%b":1,"%b":2}' % (b"k" * 10**6, b"k" * 10**6)),
    "a byte more than the cap": ("json_too_large", sparse(b"{}", MAX_BYTES + 1)),
    "a terabyte": ("json_too_large", sparse(b"[", 1 << 40)),
}

FINE = (b'{"a": "\\ud83d\\ude00", "b": 1e308, "c": -0.0, "d": [], "e": {"a": null}}', b"[" * 500 + b"]" * 500)

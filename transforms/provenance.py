"""Evidence: canonical JSON, digests, fingerprints, and the record of a run."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import math
import re
import struct
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, is_dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from enum import Enum
from typing import Any

VERSION = importlib.metadata.version("resplice")


def plain(value: Any) -> Any:
    """Return `value` as what JSON can say: dates as ISO-8601 UTC, decimals as numbers, bytes as hex, NaN as null."""
    if value is None or isinstance(value, (bool, int, str)):
        return value.value if isinstance(value, Enum) else value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Decimal):
        return _number(value)
    if isinstance(value, datetime):
        return _iso(value)
    if isinstance(value, (date, time)):
        return value.isoformat()
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value).hex()
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(v) for v in (sorted(value) if isinstance(value, (set, frozenset)) else value)]
    if hasattr(value, "item"):
        return plain(value.item())
    return str(value)


def _number(value: Decimal) -> int | float | None:
    """Return a decimal as a number; null where it is none, or none that a float can hold."""
    if not value.is_finite() or value.adjusted() > 307:
        return None
    return int(value) if value == value.to_integral_value() else float(value)


def _iso(moment: datetime) -> str:
    if moment.tzinfo is None:
        return moment.isoformat() + "Z"
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


_HALF = re.compile("[\ud800-\udfff]")
_ON_ONE_LINE = json.JSONEncoder(sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def line(value: Any) -> str:
    """Return strict JSON on one line: sorted keys, no NaN, no newline at the end."""
    return _ON_ONE_LINE.encode(plain(value))


def document(value: Any) -> bytes:
    """Return strict JSON for a file: sorted keys, indented, UTF-8, newline at the end."""
    text = json.dumps(plain(value), sort_keys=True, ensure_ascii=False, allow_nan=False, indent=2)
    return (text + "\n").encode()


def jsonl(values: Iterable[Any]) -> bytes:
    """Return strict JSON lines, UTF-8, a newline after each."""
    return "".join(line(value) + "\n" for value in values).encode()


def shown(text: str) -> str:
    """Return text with bytes that are not UTF-8, and lone surrogates, as backslash escapes."""
    if text.isascii():
        return text
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode()


def halves_escaped(text: str) -> str:
    """Return the text of a JSON document with each half of a surrogate pair, which is no UTF-8, as an escape."""
    return _HALF.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def sha256(data: bytes) -> str:
    """Return the SHA-256 of bytes, in hex."""
    return hashlib.sha256(data).hexdigest()


def fingerprint(**parts: Any) -> str:
    """Return the digest of the named parts (JSON-able values) and of the code's version."""
    return sha256(words(**parts).encode())


def words(**parts: Any) -> str:
    """Return what a fingerprint is the digest of."""
    return line({"code": VERSION, **parts})


def rows_digest(rows: Iterable[dict[str, Any]]) -> str:
    """Return the digest of a set of rows, independent of their order (each row: column → value as `plain` gives it)."""
    return digest_of(map(row_text, rows))


def digest_of(texts: Iterable[bytes]) -> str:
    """Return the digest of a set of rows by their texts."""
    return sha256(b"".join(sorted(texts)))


END = ";"


def row_text(columns: Mapping[str, Any]) -> bytes:
    """Return the text of a row: of each column, in the order of their names, the name and the value.

    Each part ends where its beginning says, so that no two rows have one text.
    """
    parts = (part for name in sorted(columns) for part in (tagged(name), value_text(columns[name])))
    return "".join([*parts, END]).encode()


def value_text(value: Any) -> str:
    """Return the text of a value as `plain` gives it: `n` (null), `t`, `f`, `i` and a decimal, `d` and the bits of a
    float as a decimal, text and JSON as `tagged` has them.
    """
    if value is None:
        return "n"
    if isinstance(value, bool):
        return "t" if value else "f"
    if isinstance(value, str):
        return tagged(value)
    if isinstance(value, int):
        return f"i{value}{END}"
    if isinstance(value, float):
        return f"d{struct.unpack('<q', struct.pack('<d', value))[0]}{END}"
    return tagged(_ON_ONE_LINE.encode(value), "j")


def tagged(text: str, kind: str = "s") -> str:
    """Return text after its number of bytes; `s` says that it is text, `j` that it is JSON."""
    return f"{kind}{len(text) if text.isascii() else len(text.encode())}:{text}"


def now() -> str:
    """Return the current moment, ISO-8601 UTC to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True)
class Run:
    """One run of a job, as its artifacts name it.

    `settings` is the digest of the settings in force; `started_at` may be when the run's first process began,
    `process_started_at` is when this one did; `given` is JSON of the settings that are not the defaults.
    """

    id: str
    root: str
    command: str
    settings: str
    args: tuple[tuple[str, Any], ...] = ()
    argv: tuple[str, ...] = ()
    seq: int = 0
    started_at: str = ""
    process_started_at: str = ""
    given: str = "{}"
    entrypoint: str = ""
    cwd: str = ""
    code: str = VERSION

    def metadata(self) -> dict[str, str]:
        """Return what every parquet file of the run carries in its file metadata."""
        return {"run_id": self.id, "code_version": self.code, "settings_sha256": self.settings}

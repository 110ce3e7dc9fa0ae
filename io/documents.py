"""The JSON documents of the workspace, read strictly: a damaged one is a clear error, never a guess."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from typing import Any, NoReturn

from resplice.io.store import Store
from resplice.transforms.records import Damage, Exit, UserError

MAX_BYTES = 1 << 30
_SHOWN = 200
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def parse(data: bytes) -> Any:
    """Return the value of strict JSON. Raises Damage json_invalid, json_too_large or json_duplicate_key."""
    _check_size(len(data))
    try:
        value = json.loads(data.decode(), object_pairs_hook=_unique, parse_float=_finite, parse_constant=_no_constant)
        if _SURROGATE.search(data):
            json.dumps(value, ensure_ascii=False).encode()  # half a pair is no text: nothing could be written of it
    except (ValueError, RecursionError) as error:
        raise Damage("json_invalid", _one_line(error)) from None
    return value


def _check_size(size: int) -> None:
    if size > MAX_BYTES:
        raise Damage("json_too_large", f"{size} bytes, {MAX_BYTES} allowed")


def _one_line(error: Exception) -> str:
    """Return what is wrong without the document itself, which a UnicodeError would quote."""
    return error.reason if isinstance(error, UnicodeError) and hasattr(error, "reason") else str(error)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        counts = Counter(name for name, _ in pairs)
        raise Damage("json_duplicate_key", repr(counts.most_common(1)[0][0])[:_SHOWN])
    return found


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:_SHOWN]} is beyond what a number can hold")
    return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def lenient(data: bytes, unique: bool = False) -> Any:
    """Return the value of JSON that others wrote: a byte order mark is skipped, NaN and infinities are null, half a
    surrogate pair stays. `unique`: an object that has a key twice is damaged. Raises Damage json_invalid.
    """
    try:
        return json.loads(
            data.decode("utf-8-sig"), object_pairs_hook=_unique if unique else None, parse_float=_number_or_null,
            parse_constant=lambda name: None,
        )  # fmt: skip
    except (ValueError, RecursionError) as error:
        raise Damage("json_invalid", _one_line(error)) from None


def _number_or_null(text: str) -> float | None:
    value = float(text)
    return value if math.isfinite(value) else None


def load(store: Store, key: str) -> Any:
    """Return a document. FileNotFoundError without one; UserError (exit 1) if it is damaged."""
    return of(store, key, _read(store, key))


def _read(store: Store, key: str) -> bytes:
    """Return the bytes of a document; one that is too large is not read."""
    blob = store.open(key)
    try:
        _check_size(blob.size)
        return blob.read_at(0, blob.size)
    except Damage as damage:
        raise _damaged(store, key, damage) from None
    finally:
        blob.close()


def load_lines(store: Store, key: str) -> list[Any]:
    """Return the values of a JSON lines document."""
    return lines(store, key, store.read(key))


def lines(store: Store, key: str, data: bytes) -> list[Any]:
    """Return the values of the JSON lines that an object holds."""
    return [of(store, key, line) for line in data.splitlines()]


def of(store: Store, key: str, data: bytes) -> Any:
    """Return the document that an object holds."""
    try:
        return parse(data)
    except Damage as damage:
        raise _damaged(store, key, damage) from None


def _damaged(store: Store, key: str, damage: Damage) -> UserError:
    return UserError(
        f"{store.url}/{key} is damaged ({damage}): restore it from a backup, or start a new run", Exit.FAILED
    )

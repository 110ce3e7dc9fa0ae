"""The JSON documents of the workspace, read strictly: a damaged one is a clear error, never a guess."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from resplice.io.store import Store
from resplice.transforms.records import Damage, Exit, UserError

MAX_BYTES = 1 << 30


def parse(data: bytes) -> Any:
    """Return the value of strict JSON. Raises Damage json_invalid, json_too_large or json_duplicate_key."""
    if len(data) > MAX_BYTES:
        raise Damage("json_too_large", f"{len(data)} bytes, {MAX_BYTES} allowed")
    try:
        return json.loads(data, object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise Damage("json_invalid", str(error)) from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise Damage("json_duplicate_key", next(name for name in names if names.count(name) > 1))
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def load(store: Store, key: str) -> Any:
    """Return a document. FileNotFoundError without one; UserError (exit 1) if it is damaged."""
    return of(store, key, store.read(key))


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
        raise UserError(
            f"{store.url}/{key} is damaged ({damage}): restore it from a backup, or start a new run", Exit.FAILED
        ) from None

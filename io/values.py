"""Values of the user's database as the recovery knows them: text without half characters, numbers, JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from resplice.transforms import provenance
from resplice.transforms.records import UserError


def shown(text: str) -> str:
    """Return text with bytes that are not UTF-8, and lone surrogates, as backslash escapes."""
    if text.isascii():
        return text
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode()


def texts(values: Iterable[Any]) -> list[str]:
    """Return each value as `text` does."""
    return [value if type(value) is str else text(value) for value in values]


def text(value: Any) -> str:
    """Return a value as text: null is empty, bytes that are not UTF-8 become lone surrogates."""
    if value is None:
        return ""
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else str(value)


def row_id(value: Any, integer: bool, column: str) -> int | str:
    """Return the id of a row. UserError if the column is declared as integer and it is none."""
    if not integer:
        return shown(text(value))
    if not isinstance(value, int):
        raise UserError(f"column {column!r} is declared as integer but holds {value!r}")
    return value


def number(value: Any) -> float | None:
    """Return a value as a number, None where it is none."""
    try:
        return None if value is None else float(value)
    except (TypeError, ValueError):
        return None


def json_values(values: Sequence[Any], kind: str) -> list[Any]:
    """Return the values of a column as `json_value` does; it is not asked for those that JSON takes as they are."""
    if kind:
        return [None if value is None else json_value(value, kind) for value in values]
    return [
        value
        if value is None or type(value) is int or (type(value) is str and value.isascii())
        else json_value(value, kind)
        for value in values
    ]


def json_value(value: Any, kind: str) -> Any:
    """Return a value of a column as JSON can say it: dates as ISO-8601 UTC, decimals as numbers, JSON as JSON."""
    try:
        if kind == "datetime" and isinstance(value, str):
            value = datetime.fromisoformat(value)
        elif kind == "json" and isinstance(value, str):
            value = json.loads(value)
        elif kind == "number" and isinstance(value, str):
            value = Decimal(value)
    except (ValueError, ArithmeticError):
        pass
    return _shown(provenance.plain(value))


def _shown(value: Any) -> Any:
    """Return a JSON value with all its text as `shown`."""
    if isinstance(value, str):
        return shown(value)
    if isinstance(value, dict):
        return {shown(name): _shown(inner) for name, inner in value.items()}
    return [_shown(inner) for inner in value] if isinstance(value, list) else value

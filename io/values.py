"""Values of the user's database as the recovery knows them: text without half characters, numbers, JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from resplice.transforms import provenance, rowtext
from resplice.transforms.provenance import shown
from resplice.transforms.records import UserError

_MOMENT = (
    "^[1-9][0-9]{3}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])[ T]([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"
    "([.][0-9]{5}[1-9])?([+]00)?$"
)
"""Moments that are in each calendar, in UTC or of no zone, with as many digits of a second as they are written with."""


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


def json_texts(column: pa.Array, kind: str) -> pa.Array:
    """Return the text, as a digest of rows has it, of each value of a column as `json_value` gives it."""
    if not pa.types.is_string(column.type):
        texts = rowtext.value_texts(column)
        return _each_text(column, kind) if texts is None else texts
    if not kind:
        return rowtext.value_texts(column)
    return _moment_texts(column) if kind == "datetime" else _each_text(column, kind)


def _moment_texts(column: pa.Array) -> pa.Array:
    """Return the texts of moments: by column, but for those that are written in some other way."""
    others = pc.invert(pc.fill_null(pc.match_substring_regex(column, _MOMENT), False))
    found = rowtext.value_texts(_moments(column))
    if not pc.any(others).as_py():
        return found
    return pc.replace_with_mask(found, others, _each_text(column.filter(others), "datetime"))


def _moments(column: pa.Array) -> pa.Array:
    """Return texts of moments (others as anything) as ISO-8601 UTC."""
    rest = pc.replace_substring(pc.utf8_slice_codeunits(column, 11, None), "+00", "")
    return pc.binary_join_element_wise(pc.utf8_slice_codeunits(column, 0, 10), "T", rest, "Z", "")


def _each_text(column: pa.Array, kind: str) -> pa.Array:
    """Return the text of each value, one by one; each of those that are often there once."""
    coded = column.dictionary_encode() if pa.types.is_string(column.type) else None
    values = json_values((column if coded is None else coded.dictionary).to_pylist(), kind)
    texts = pa.array([provenance.value_text(value) for value in values], pa.string())
    return texts if coded is None else pc.fill_null(texts.take(coded.indices), "n")


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

"""Validation results as parquet shards: one row a segment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from resplice.io import shards
from resplice.io.store import Store
from resplice.transforms.records import Segment
from resplice.transforms.signal import MEASURES, WHOLE

BASE: dict[str, pa.DataType] = {
    "video_id": pa.string(),
    "segment_file": pa.string(),
    "db_segment_file": pa.string(),
    "row_id": pa.null(),
    "split_index": pa.int64(),
    "status": pa.string(),
    "reasons": pa.list_(pa.string()),
    "engine": pa.string(),
    "attempts": pa.int64(),
    "run_id": pa.string(),
    "detail": pa.string(),
    "engine_versions": pa.list_(pa.string()),
}
EXACT = 1 << 53
"""Whole numbers up to this one are the same as float64."""


def encode(rows: Sequence[Mapping[str, Any]], id_type: str, metadata: Mapping[str, str]) -> bytes:
    """Return result rows as parquet bytes: the base columns, the signal measures, then further ones by name.

    Further numbers are float64, whole ones, too, so that a column has one type in all shards; what is a number in one
    row and a bool or a string in another is a string.
    """
    kinds = {**BASE, "row_id": pa.int64() if id_type == "int64" else pa.string()}
    kinds |= {name: measure_type(name) for name in MEASURES}
    for name in sorted({name for row in rows for name in row} - kinds.keys()):
        kinds[name] = _type_of(row.get(name) for row in rows)
    columns = [pa.array([_as(row.get(name), kind) for row in rows], kind) for name, kind in kinds.items()]
    return shards.encode(pa.table(columns, names=list(kinds)), metadata)


def split_index(segment: Segment) -> int | None:
    """Return the split number as the column holds it: null for an unsplit segment, and beyond 64 bits."""
    return segment.index if segment.index is not None and segment.index < 1 << 63 else None


def read(store: Store, key: str) -> list[dict[str, Any]]:
    """Return the rows of a shard, without the measures that are null."""
    rows = shards.open_file(store, key).read().to_pylist()
    return [{name: value for name, value in row.items() if value is not None or name in BASE} for row in rows]


def same(row: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Return whether two rows tell the same, one of them perhaps as a shard gave it back."""
    return row.keys() == other.keys() and all(
        value == other[name] or _text(value) == _text(other[name]) for name, value in row.items()
    )


def measure_type(name: str) -> pa.DataType:
    """Return the type of the column of a measure of `signal`."""
    if name == "pcm_md5":
        return pa.string()
    return pa.int64() if name in WHOLE else pa.float64()


def _type_of(values: Iterable[Any]) -> pa.DataType:
    there = [value for value in values if value is not None]
    kinds = {type(value) for value in there}
    if kinds <= {bool}:
        return pa.bool_()
    if not kinds <= {int, float}:
        return pa.string()
    if all(isinstance(value, float) or abs(value) <= EXACT for value in there):
        return pa.float64()
    return pa.int64() if kinds == {int} else pa.string()


def _as(value: Any, kind: pa.DataType) -> Any:
    if value is None:
        return None
    if kind == pa.float64():
        return float(value)
    return _text(value) if kind == pa.string() else value


def _text(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)

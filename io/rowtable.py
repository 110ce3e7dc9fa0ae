"""Transcription rows as a table, which the inventory reads: made of what the database gave by column, or of rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from resplice.io.columnar import Unfit
from resplice.io.values import json_texts, number, texts
from resplice.transforms import provenance, rowtext
from resplice.transforms.provenance import shown
from resplice.transforms.settings import Columns

if TYPE_CHECKING:
    from resplice.io.rows import Row


def schema(id_type: str) -> pa.Schema:
    """Return what a table of rows has: `utf8` tells whether a `segment_file` is UTF-8 (else it is escaped), `text` is
    what the digest of a row is made of.
    """
    kind = pa.int64() if id_type == "int64" else pa.string()
    return pa.schema(
        [
            ("id", kind),
            ("video_id", pa.string()),
            ("segment_file", pa.string()),
            ("duration_s", pa.float64()),
            ("utf8", pa.bool_()),
            ("text", pa.binary()),
        ]
    )


def of_rows(rows: Iterable[Row], id_type: str) -> pa.Table:
    """Return a table of rows."""
    values = [
        (row.id, shown(row.video_id), shown(row.segment_file), row.duration_s, _is_utf8(row.segment_file),
         provenance.row_text(row.columns))
        for row in rows
    ]  # fmt: skip
    kinds = schema(id_type)
    columns = [pa.array([row[place] for row in values], field.type) for place, field in enumerate(kinds)]
    return pa.table(columns, schema=kinds)


def of_batch(batch: pa.RecordBatch, ours: Columns, kinds: Mapping[str, str], id_type: str) -> pa.Table:
    """Return a table of rows that were read by column; `kinds` are those of the values. Unfit if ids are none."""
    wanted = schema(id_type)
    ids = batch[ours.id]
    if ids.null_count or not (ids.type == wanted.field("id").type or pa.types.is_integer(ids.type)):
        raise Unfit(f"ids are {ids.type}")
    nothing = pa.nulls(len(batch), pa.float64())
    values = {name: json_texts(batch[name], kinds[name]) for name in batch.schema.names}
    columns = [
        ids.cast(wanted.field("id").type),
        _texts(batch[ours.video_id]),
        _texts(batch[ours.segment_file]),
        _numbers(batch[ours.duration_s]) if ours.duration_s else nothing,
        pa.repeat(True, len(batch)),
        rowtext.row_texts(values),
    ]
    return pa.table(columns, schema=wanted)


def _texts(column: pa.Array) -> pa.Array:
    if pa.types.is_string(column.type):
        return pc.fill_null(column, "")
    return pa.array([shown(value) for value in texts(column.to_pylist())], pa.string())


def _numbers(column: pa.Array) -> pa.Array:
    if column.type == pa.float64() or pa.types.is_null(column.type):
        return column.cast(pa.float64())
    return pa.array([number(value) for value in column.to_pylist()], pa.float64())


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True

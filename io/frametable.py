"""The parquet file of a corpus of frames: the results of its units one after the other, the same bytes each time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from resplice.io.extracting import Result

_ROWS_A_GROUP = 1 << 16


def write(
    file: Path, schema: pa.Schema, units: Iterable[tuple[Mapping[str, Any], Result]], metadata: Mapping[str, str]
) -> dict[str, int]:
    """Write units, (the columns that say one value of all frames, result); return the values that each column has.

    Where there are none, the file still has the whole schema.
    """
    values = dict.fromkeys(schema.names, 0)
    with pq.ParquetWriter(
        file, schema.with_metadata(dict(metadata)), compression="zstd", write_page_checksum=True
    ) as writer:
        for table in _tables(schema, units):
            for name in schema.names:
                values[name] += len(table) - table.column(name).null_count
            writer.write_table(table.replace_schema_metadata(dict(metadata)))
    return values


def _tables(schema: pa.Schema, units: Iterable[tuple[Mapping[str, Any], Result]]) -> Iterator[pa.Table]:
    """Yield tables of a row group each, which only the units' order and sizes decide."""
    waiting, rows = list[pa.Table](), 0
    for same, result in units:
        waiting.append(_table(schema, same, result))
        rows += result.frames
        if rows >= _ROWS_A_GROUP:
            yield pa.concat_tables(waiting)
            waiting, rows = [], 0
    if waiting:
        yield pa.concat_tables(waiting)


def _table(schema: pa.Schema, same: Mapping[str, Any], result: Result) -> pa.Table:
    """Return the frames of a unit."""
    frames = result.frames
    found: dict[str, Any] = {"frame_index": range(frames), **result.columns}
    columns = [
        pa.array([same[name]] * frames if name in same else found.get(name, [None] * frames), field.type)
        for name, field in zip(schema.names, schema, strict=True)
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def counted(file: Path, name: str) -> int:
    """Return how many units a file holds, told apart by a column."""
    return int(pc.count_distinct(pq.read_table(file, columns=[name]).column(name)).as_py())


def rows(file: Path) -> int:
    """Return the frames that a file holds."""
    return int(pq.read_metadata(file).num_rows)

"""The last step of a baseline: the videos of a range with their historical rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from resplice.io import refusals, shards
from resplice.io.context import Context
from resplice.io.inventory import VIDEO_SCHEMA
from resplice.io.live import read_spills
from resplice.transforms import provenance
from resplice.transforms.affected import MISSING

_COUNTS = pa.schema([("video_id", pa.string()), ("rows", pa.int64())]).empty_table()


class Freeze:
    """Write the videos of one range with their historical rows."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def __call__(self, joined: tuple[int, dict[str, Iterable[Any]]]) -> Iterator[int]:
        """Write one range; a video that only history knows gets a row of its own."""
        index, sides = joined
        store, prefix = self._context.workspace.store, f"{self._context.stage('baseline')}/index/{index:05d}"
        found = shards.open_file(store, f"{prefix}-found.parquet").read()
        spilled = [pa.Table.from_batches([batch]) for _, batch in read_spills(store, sides["history"])]
        counts = pa.concat_tables([_COUNTS, *spilled])
        table = _with_history(found, counts.group_by("video_id").aggregate([("rows", "sum")]))
        refusals.put(store, f"{prefix}-videos.parquet", shards.encode(table, self._context.run.metadata()))
        yield len(table)


def _with_history(found: pa.Table, counts: pa.Table) -> pa.Table:
    """Return videos with their historical rows, those that only history knows among them, sorted."""
    strange = counts.filter(pc.invert(pc.is_in(counts["video_id"], value_set=found["video_id"])))
    nothing = {"rows": 0, "split_rows": 0, "raw_tar": MISSING, "transcribed_tar": MISSING,
               "rows_digest": provenance.rows_digest([])}  # fmt: skip
    rows = [{"video_id": video, **nothing} for video in strange["video_id"].to_pylist()]
    more = pa.Table.from_pylist(rows, VIDEO_SCHEMA)
    table = pa.concat_tables([found.replace_schema_metadata(None), more])
    place = pc.index_in(table["video_id"], value_set=counts["video_id"])
    number = pc.fill_null(counts["rows_sum"].take(place), 0)
    table = table.set_column(VIDEO_SCHEMA.get_field_index("historical_rows"), "historical_rows", number)
    return shards.sorted_by(table, "video_id").combine_chunks()

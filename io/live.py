"""Live results, range by range: each shard is read once, by column, and spilled sorted, one record batch a range.

What crosses the shuffle is where a range's rows lie, not the rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from resplice.io import arrows, shards, snapshots, spans
from resplice.io.context import Context
from resplice.io.store import Store
from resplice.transforms.ranges import range_of
from resplice.transforms.records import Damage, UserError
from resplice.transforms.replace import HISTORY, Shard

UNJUDGED = "unjudged"
MAX_SHARDS = 256
MAX_ROWS = 100_000
Group: TypeAlias = tuple[int, tuple[Shard, ...]]
"""Some shards that follow one another, and the rank of the first."""


@dataclass(frozen=True)
class Spill:
    """Where the rows of one range of one shard lie: record batch `batch` of the Arrow file `key`.

    `rank` orders shards.
    """

    rank: int
    key: str
    batch: int
    origin: str
    run_id: str
    rows: int


@dataclass(frozen=True)
class LiveRow:
    """One live result. `name` is the DB's spelling (history) or the stem (runs); status also `unjudged`."""

    video_id: str
    name: str | None
    status: str
    reasons: tuple[str, ...]
    origin: str
    run_id: str


def read_shard(context: Context, shard: Shard) -> pa.Table:
    """Return video_id, segment_file, status and reasons (joined by commas) of a shard's rows that count."""
    store, key = snapshots.open_shard(context.workspace.store, context.validation.store, shard)
    status = context.settings.history.status_column if shard.origin == HISTORY else "status"
    text = pa.string()
    try:
        columns = {"video_id": text, "segment_file": text, status: text}
        table = shards.read(store, key, columns, optional=[status])
        reasons = pa.nulls(len(table), text)
        if shard.origin != HISTORY:
            listed = shards.read(store, key, {"reasons": pa.list_(text)}, optional=["reasons"]).column(0)
            reasons = pc.binary_join(listed, ",")
    except Damage as damage:
        raise UserError(f"{shard.source}: {damage}: mend or remove this shard") from None
    table = pa.table([*table.columns, reasons], names=["video_id", "segment_file", "status", "reasons"])
    return snapshots.without(table, shard.drop)


def groups(shards_: Iterable[Shard]) -> list[Group]:
    """Return shards in groups that are read together: of one origin and run, in their order, at most 256 shards and
    about 100,000 rows (one larger shard alone), whoever works on them.
    """
    found: list[tuple[int, list[Shard]]] = []
    rows = 0
    for rank, shard in enumerate(shards_):
        last = found[-1][1] if found else []
        same = last and (last[0].origin, last[0].run_id) == (shard.origin, shard.run_id)
        if same and len(last) < MAX_SHARDS and rows + shard.rows <= MAX_ROWS:
            last.append(shard)
            rows += shard.rows
        else:
            found.append((rank, [shard]))
            rows = shard.rows
    return [(rank, tuple(group)) for rank, group in found]


def listed(context: Context, stage: str, shards_: Iterable[Shard]) -> spans.Listing[Group]:
    """Write the groups of shards as a list of the stage, of which a pipeline's elements name a line each."""
    return spans.write(context, stage, "shards", groups(shards_), _group_of)


def _group_of(value: Any) -> Group:
    rank, group = value
    return rank, tuple(Shard(**{**shard, "drop": tuple(shard["drop"])}) for shard in group)


class IndexShards:
    """Spill a group of shards by range: (rank, shards) → (range, Spill) for each range that they have rows of."""

    def __init__(self, context: Context, stage: str, bounds: Sequence[str]) -> None:
        self._context = context
        self._folder = context.passing(stage)
        self._bounds = bounds

    def __call__(self, group: Group) -> Iterator[tuple[int, Spill]]:
        """Index the shards of the group."""
        rank, together = group
        table = pa.concat_tables([self._normalised(read_shard(self._context, shard), shard) for shard in together])
        yield from spilled(self._context, f"{self._folder}/{rank:05d}.arrow", table, self._bounds, group)

    def _normalised(self, table: pa.Table, shard: Shard) -> pa.Table:
        """Map the historical spelling of statuses; what is none of them is a result without a status."""
        video = pc.fill_null(table.column("video_id"), "")
        status = table.column("status")
        if shard.origin == HISTORY:
            history = self._context.settings.history
            names = {"passed": history.passed, "failed": history.failed, "error": history.error}
            mapped = pa.scalar(UNJUDGED)
            for ours, theirs in names.items():
                same = pc.fill_null(pc.is_in(status, value_set=pa.array(theirs, pa.string())), False)
                mapped = pc.if_else(same, ours, mapped)
            status = mapped if isinstance(mapped, (pa.ChunkedArray, pa.Array)) else pa.nulls(len(table))
        return pa.table(
            [video, table.column("segment_file"), status, table.column("reasons")], names=table.column_names
        )


def spilled(
    context: Context, key: str, table: pa.Table, bounds: Sequence[str], group: Group
) -> Iterator[tuple[int, Spill]]:
    """Write what was read of a group by range of its `video_id`, the rows of a range in one record batch of the Arrow
    file `key`; yield each range and where its rows lie.
    """
    ids = table.column("video_id").combine_chunks().dictionary_encode()
    ranges = pa.array([range_of(bounds, video) for video in ids.dictionary.to_pylist()], pa.int64()).take(ids.indices)
    table = shards.sorted_by(table.append_column("range", ranges), "range", "video_id")
    found = list(_by_range(table))
    schema = table.schema.remove(table.schema.get_field_index("range"))
    context.workspace.store.replace(key, arrows.file_of([batch for _, batch in found], schema), None)
    rank, (first, *_) = group
    for number, (index, batch) in enumerate(found):
        yield index, Spill(rank, key, number, first.origin, first.run_id, batch.num_rows)


def _by_range(table: pa.Table) -> Iterator[tuple[int, pa.RecordBatch]]:
    if not len(table):
        return
    runs, table, start = pc.run_end_encode(table.column("range").combine_chunks()), table.drop_columns("range"), 0
    for index, end in zip(runs.values.to_pylist(), runs.run_ends.to_pylist(), strict=True):
        yield index, table.slice(start, end - start).combine_chunks().to_batches()[0]
        start = end


def read_spills(store: Store, spills: Iterable[Spill]) -> list[tuple[Spill, pa.RecordBatch]]:
    """Return spills in the order of the shards, each with its rows: video_id, segment_file, status, reasons."""
    ranked = sorted(spills, key=lambda spill: spill.rank)
    return [(spill, arrows.batch_of(store, spill.key, spill.batch)) for spill in ranked]


def rows_of(spill: Spill, batch: pa.RecordBatch) -> Iterator[LiveRow]:
    """Yield rows of a spill as records."""
    for video, name, status, reasons in zip(*(batch.column(i).to_pylist() for i in range(4)), strict=True):
        why = tuple(reasons.split(",")) if reasons else ()
        yield LiveRow(video, name, status, why, spill.origin, spill.run_id)


class CountVideos:
    """Count the rows of each video in a group of shards: (rank, shards) → (range, Spill) of `video_id, rows`; a null id
    is "".
    """

    def __init__(self, context: Context, stage: str, bounds: Sequence[str]) -> None:
        self._context = context
        self._folder = context.passing(stage)
        self._bounds = bounds

    def __call__(self, group: Group) -> Iterator[tuple[int, Spill]]:
        """Count the shards of the group."""
        rank, together = group
        table = pa.concat_tables([self._counts(shard) for shard in together])
        yield from spilled(self._context, f"{self._folder}/count-{rank:05d}.arrow", table, self._bounds, group)

    def _counts(self, shard: Shard) -> pa.Table:
        counts = pc.value_counts(pc.fill_null(read_ids(self._context, shard), ""))
        table = pa.table([counts.field("values"), counts.field("counts")], ["video_id", "rows"])
        return snapshots.without(table, shard.drop)


def counted(ids: pa.ChunkedArray) -> Iterator[tuple[str, int]]:
    """Yield each id and how often it is there."""
    counts = pc.value_counts(ids)
    yield from zip(counts.field("values").to_pylist(), counts.field("counts").to_pylist(), strict=True)


def read_ids(context: Context, shard: Shard) -> pa.ChunkedArray:
    """Return the video_id of every row of a shard, read by that column alone."""
    store, key = snapshots.open_shard(context.workspace.store, context.validation.store, shard)
    try:
        return shards.read(store, key, {"video_id": pa.string()}).column(0)
    except Damage as damage:
        raise UserError(f"{shard.source}: {damage}: mend or remove this shard") from None

"""Validation by others: work lists out, their shards in, checked against the plan and the tars."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import pyarrow as pa

from resplice.io import refusals, results, shards, sidecars
from resplice.io.context import Context
from resplice.io.judging import Judge, Source, shard_key, tar_of
from resplice.io.rows import Row
from resplice.io.spans import Lines, Listing
from resplice.io.store import Place
from resplice.io.work import Item
from resplice.transforms import provenance
from resplice.transforms.audit import RowName, in_stem_order
from resplice.transforms.names import stem
from resplice.transforms.records import Damage, Reason, Refusal, UserError
from resplice.transforms.signal import MEASURES

STATUSES = ("passed", "failed", "error")
OWN = frozenset(results.BASE) | {"row_number"}


class Sources:
    """Open the videos of an item as validation does: the same tar, the same refusals."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def __call__(self, item: Item) -> Iterator[tuple[str, Source | Refusal, list[RowName]]]:
        """Yield each video of the item with its source, or the refusal that stands in its way."""
        judge = Judge(self._context, None, {})
        rows: Mapping[str, list[Row]] = self._context.rows.of([video.video_id for video in item.videos])
        for video in item.videos:
            try:
                with judge.source(video, rows[video.video_id]) as (source, names):
                    yield video.video_id, source, names
            except Refusal as refusal:
                yield video.video_id, refusal, []


class Describe:
    """Describe the work of one item for others: item → one record a video, or its refusal."""

    def __init__(self, context: Context) -> None:
        self._sources = Sources(context)
        self._context = context

    def __call__(self, item: Item) -> Iterator[dict[str, Any]]:
        """Describe every video of the item."""
        for video, source, names in self._sources(item):
            if isinstance(source, Refusal):
                yield {"video_id": video, "refused": str(source.reason), "detail": source.detail}
                continue
            members = [
                {"stem": stem(segment), "db_segment_file": name.segment_file, "row_id": name.id,
                 "member": source.members[segment].name, "offset": source.members[segment].offset,
                 "bytes": source.members[segment].size, "sha256": source.tar.member_digest(source.members[segment])}
                for segment, name in in_stem_order(names)
            ]  # fmt: skip
            url = source.place.path(source.key)
            yield {"video_id": video, "tar": url, "tar_sha256": source.tar.digest(), "segments": members}


class ReadGiven:
    """Read one shard of others: (rank, key) → (video_id, (rank, row number, row))."""

    def __init__(self, place: Place) -> None:
        self._place = place

    def __call__(self, ranked: tuple[int, str]) -> Iterator[tuple[str, tuple[int, int, dict[str, Any]]]]:
        """Read the shard; UserError if it is none."""
        rank, key = ranked
        text = pa.string()
        wanted = {"video_id": text, "segment_file": text, "status": text, "reasons": pa.list_(text), "engine": text}
        try:
            table = shards.read(self._place.store, key, wanted, optional=["reasons", "engine"])
            whole = shards.open_file(self._place.store, key).read()
        except Damage as damage:
            raise UserError(f"--from {self._place.url}: {damage}") from None
        for name in whole.column_names:
            if name not in OWN:
                table = table.append_column(name, self._column(key, name, whole.column(name)))
        for number, row in enumerate(table.to_pylist()):
            if row["status"] not in STATUSES:
                raise UserError(
                    f"--from {self._place.url}: {key}: row {number} has the status {row['status']!r}, expected one of "
                    f"{', '.join(STATUSES)}"
                )
            yield row["video_id"] or "", (rank, number, row)

    def _column(self, key: str, name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
        """Return a measure; one with a name of `signal` as the type that this has. UserError if it cannot be."""
        if name not in MEASURES:
            return column
        kind = results.measure_type(name)
        try:
            if pa.types.is_floating(column.type) and pa.types.is_integer(kind):
                return column.cast(kind)  # whole numbers, beside nulls
            return shards.promote(column, kind, f"column {name!r}")
        except (Damage, pa.ArrowInvalid) as error:
            raise UserError(
                f"--from {self._place.url}: {key}: column {name!r} is {column.type}, and {kind} as resplice measures "
                f"it: give your measure another name ({error})"
            ) from None


class ByItem:
    """Key given rows by the number of their video's item, −1 where there is none."""

    def __init__(self, todo: Listing[Item]) -> None:
        self._lines = todo.lines
        self._length = sum(length for _, length in todo.spans)

    @cached_property
    def _of_video(self) -> dict[str, int]:
        items = enumerate(self._lines((0, self._length)))
        return {video.video_id: number for number, item in items for video in item.videos}

    def __call__(self, given: tuple[str, Any]) -> tuple[int, tuple[str, Any]]:
        """Key one row."""
        return self._of_video.get(given[0], -1), given


class Take:
    """Write the shards of an item from what others gave: (item number, sides) → a record a row that is refused.

    `items` are the work items, of which a side names one by its span; `files` the names of the given shards, by rank.
    """

    def __init__(self, context: Context, items: Lines[Item], files: Sequence[str]) -> None:
        self._context = context
        self._items = items
        self._files = tuple(files)
        self._sources = Sources(context)

    def __call__(self, joined: tuple[int, dict[str, Iterable[Any]]]) -> Iterator[dict[str, Any]]:
        """Take one item; rows of no item are not planned."""
        _, sides = joined
        given: dict[str, list[tuple[int, int, dict[str, Any]]]] = {}
        for video, row in sides["given"]:
            given.setdefault(video, []).append(row)
        made: list[dict[str, Any]] = []
        for item in (item for span in sides["items"] for item in self._items(span)):
            for video, source, names in self._sources(item):
                rows = sorted(given.pop(video, []), key=lambda row: row[:2])
                taken = list(self._video(video, source, names, rows))
                made += sorted((r for r in taken if "reason" not in r), key=lambda r: str(r["segment_file"]))
                yield from (r for r in taken if "reason" in r)
            self._write(item, made)
        for video, rows in given.items():
            for given_row in rows:
                yield self._refused(video, given_row, Reason.NOT_PLANNED, "this run has no such video to validate")

    def _video(
        self, video: str, source: Source | Refusal, names: list[RowName], rows: list[tuple[int, int, dict[str, Any]]]
    ) -> Iterator[dict[str, Any]]:
        by_stem = {stem(name.segment): name for name in names if name.segment}
        seen: set[str] = set()
        for given in rows:
            row = given[2]
            name = by_stem.get(row["segment_file"])
            if isinstance(source, Refusal):
                yield self._refused(video, given, source.reason, source.detail)
            elif name is None or name.segment is None:
                yield self._refused(video, given, Reason.NOT_PLANNED, "the tar has no such segment (give the stem)")
            elif row["segment_file"] in seen:
                yield self._refused(video, given, Reason.DUPLICATE_RESULT, "an earlier row counts")
            else:
                seen.add(row["segment_file"])
                measures = {k: v for k, v in row.items() if k not in results.BASE and v is not None}
                yield {
                    "video_id": video, "segment_file": row["segment_file"], "db_segment_file": name.segment_file,
                    "row_id": name.id, "split_index": results.split_index(name.segment), "status": row["status"],
                    "reasons": row["reasons"] or [], "engine": row["engine"] or "foreign", "attempts": 1,
                    "run_id": self._context.run.id, "detail": None, "engine_versions": [], **measures,
                }  # fmt: skip

    def _refused(self, video: str, given: tuple[int, int, dict[str, Any]], reason: Reason, why: str) -> dict[str, Any]:
        rank, number, row = given
        detail = f"row {number} of {self._files[rank]}: {why}"
        return {"video_id": video, "segment_file": row["segment_file"] or "", "reason": str(reason), "detail": detail}

    def _write(self, item: Item, made: list[dict[str, Any]]) -> None:
        place, key = self._context.workspace, shard_key(self._context, item)
        if not made:
            place.store.delete(key + sidecars.SUFFIX)
            place.store.delete(key)
            return
        data = results.encode(made, self._context.rows.id_type, self._context.run.metadata())
        if not refusals.put(place.store, key, data) and sidecars.vouches(place.store, key, provenance.sha256(data)):
            return
        outputs = {"shard": sidecars.described(place, key)}
        inputs = {f"tar:{video.video_id}": sidecars.described(*tar_of(self._context, video)) for video in item.videos}
        stats = {"videos": len(item.videos), "rows": len(made)}
        sidecar = sidecars.content(self._context, "validate-shard", stats=stats, inputs=inputs, outputs=outputs)
        sidecars.write(place.store, key, sidecar)

"""The inventory of one range of videos: rows, raw tars and transcribed tars, read once and kept as an index.

The index of range i stands under `baseline/index/`: what the rows mean (`{i}-rows.parquet`), what is in the tars
(`{i}-members.parquet`) and one row a video (`{i}-found.parquet`; with its historical rows, `{i}-videos.parquet`). Each
name only ever holds the same bytes, so that two processes of one run do no harm.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from typing import Any

import pyarrow as pa

from resplice.io import shards
from resplice.io.context import Context
from resplice.io.former import KnownTars, stored
from resplice.io.rows import Row
from resplice.io.store import Head
from resplice.io.tarstate import RAW, TRANSCRIBED, Side, TarState, open_sides
from resplice.io.values import shown
from resplice.transforms import provenance
from resplice.transforms.affected import OK
from resplice.transforms.audit import RowName, TarContent, raw_content, transcribed_content
from resplice.transforms.flac import StreamInfo
from resplice.transforms.names import read_row
from resplice.transforms.records import Refusal, Segment

VIDEO_SCHEMA = pa.schema(
    [
        ("video_id", pa.string()),
        ("rows", pa.int64()),
        ("split_rows", pa.int64()),
        ("raw_tar", pa.string()),
        ("raw_token", pa.string()),
        ("raw_bytes", pa.int64()),
        ("transcribed_tar", pa.string()),
        ("transcribed_token", pa.string()),
        ("tar_segments", pa.int64()),
        ("tar_transcriptions", pa.int64()),
        ("historical_rows", pa.int64()),
        ("validation_status", pa.string()),
        ("rows_digest", pa.string()),
    ]
)
ROW_INDEX = pa.schema(
    [
        ("video_id", pa.string()),
        ("segment_file", pa.string()),
        ("original", pa.string()),
        ("index", pa.string()),  # a split number may have more digits than any integer type
        ("duration_s", pa.float64()),
    ]
)
MEMBER_INDEX = pa.schema(
    [
        ("video_id", pa.string()),
        ("tar", pa.string()),
        ("name", pa.string()),
        ("rate", pa.int64()),
        ("channels", pa.int64()),
        ("bits", pa.int64()),
        ("samples", pa.int64()),
        ("md5", pa.string()),
        ("token", pa.string()),
    ]
)


@dataclass(frozen=True)
class RangeWork:
    """One range of video ids: its bounds, the tars that lie in it, the statuses of the videos table, and the objects
    that tell what earlier baselines found in it.

    `snapshot` names the state of the database that is frozen ("": it has none). `ids` are those with rows, where rows
    are not found by range.
    """

    index: int
    after: str | None
    until: str | None
    raw: tuple[tuple[str, Head], ...] = ()
    transcribed: tuple[tuple[str, Head], ...] = ()
    statuses: tuple[tuple[str, str | None], ...] = ()
    former: tuple[str, ...] = ()
    ids: tuple[str, ...] | None = None
    snapshot: str = ""


def read_names(rows: Iterable[Row], raw_names: frozenset[str] | None) -> tuple[list[RowName], list[Refusal]]:
    """Read the names of a video's rows; return them, and the refusals of the bad ones."""
    names, bad = [], []
    for row in rows:
        segment: Segment | None = None
        try:
            segment = read_row(row.segment_file, raw_names)
        except Refusal as refusal:
            bad.append(Refusal(refusal.reason, shown(refusal.detail), shown(row.segment_file)))
        names.append(RowName(row.id, shown(row.segment_file), segment, row.duration_s))
    return names, bad


class Inventory:
    """Read one range: write its frozen rows and its index, and yield (range, number of videos)."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def __call__(self, work: RangeWork) -> Iterator[tuple[int, int]]:
        """Inventory the range."""
        rows: dict[str, list[Row]] = {}
        for row in self._rows(work):
            rows.setdefault(row.video_id, []).append(row)
        raw, transcribed = dict(work.raw), dict(work.transcribed)
        statuses = dict(work.statuses)
        videos, row_index, member_index = [], [], []
        context, names = self._context, sorted({*rows, *raw, *transcribed, *statuses})
        known = KnownTars(context.workspace.store, work.former, context.run.code)
        sides = (
            Side(RAW, context.raw.store, raw, known),
            Side(TRANSCRIBED, context.transcribed.store, transcribed, known),
        )
        for video, (raw_tar, tar) in zip(names, open_sides(names, *sides), strict=True):
            facts = _facts(video, rows.get(video, []), raw_tar, tar)
            facts.row["validation_status"] = statuses.get(video)
            videos.append(facts.row)
            row_index += facts.rows
            member_index += facts.members
        context.rows_at(work.snapshot).check_snapshot()  # a lost one is frozen anew, perhaps by another thread, already
        self._write_rows(work.index, [row for video in sorted(rows) for row in rows[video]])
        self._write(f"index/{work.index:05d}-rows", row_index, ROW_INDEX)
        self._write(f"index/{work.index:05d}-members", member_index, MEMBER_INDEX)
        self._write(f"index/{work.index:05d}-found", videos, VIDEO_SCHEMA)
        yield work.index, len(videos)

    def _rows(self, work: RangeWork) -> Iterator[Row]:
        rows = self._context.rows_at(work.snapshot)
        for row in rows.between(work.after, work.until) if work.ids is None else rows.among(work.ids):
            yield replace(row, video_id=shown(row.video_id))

    def _write_rows(self, index: int, rows: list[Row]) -> None:
        kind = pa.int64() if self._context.rows.id_type == "int64" else pa.string()
        schema = pa.schema([("id", kind), ("video_id", pa.string()), ("segment_file", pa.string())])
        values = [{"id": row.id, "video_id": row.video_id, "segment_file": shown(row.segment_file)} for row in rows]
        self._write(f"rows/{index:05d}", values, schema)

    def _write(self, name: str, values: list[dict[str, Any]], schema: pa.Schema) -> None:
        data = shards.encode(pa.Table.from_pylist(values, schema), self._context.run.metadata())
        self._context.workspace.store.replace(f"{self._context.stage('baseline')}/{name}.parquet", data, None)


@dataclass(frozen=True)
class _Facts:
    row: dict[str, Any]
    rows: list[dict[str, Any]]
    members: list[dict[str, Any]]


def _facts(video: str, rows: list[Row], raw_tar: TarState, tar: TarState) -> _Facts:
    names, _ = read_names(rows, raw_tar.names)
    readable = tar.state == OK
    row = {
        "video_id": video,
        "rows": len(rows),
        "split_rows": sum(name.segment is not None and name.segment.index is not None for name in names),
        "raw_tar": raw_tar.state,
        "raw_token": raw_tar.token,
        "raw_bytes": raw_tar.bytes,
        "transcribed_tar": tar.state,
        "transcribed_token": tar.token,
        "tar_segments": len(tar.content.flacs) if readable else None,
        "tar_transcriptions": len(tar.content.jsons) if readable else None,
        "historical_rows": 0,
        "rows_digest": provenance.rows_digest(row.columns for row in rows),
    }
    row_index = [_row_index(video, name) for name in names]
    members = [*_member_index(video, RAW, raw_tar), *_member_index(video, TRANSCRIBED, tar)]
    return _Facts(row, row_index, members)


def _row_index(video: str, name: RowName) -> dict[str, Any]:
    segment = name.segment
    return {
        "video_id": video,
        "segment_file": name.segment_file,
        "original": segment.original if segment else None,
        "index": str(segment.index) if segment and segment.index is not None else None,
        "duration_s": name.duration_s,
    }


def _member_index(video: str, kind: str, tar: TarState) -> Iterator[dict[str, Any]]:
    infos = tar.infos or {}
    for name, member in sorted(tar.content.flacs.items()):
        info = infos.get(name)
        yield {"video_id": video, "tar": kind, "name": member, "token": tar.token, **(asdict(info) if info else {})}
    for member in sorted([*tar.content.jsons.values(), *tar.content.extra]):
        yield {"video_id": video, "tar": kind, "name": member, "token": tar.token}


class IndexedRange:
    """The index of one range as `Inventory` wrote it, per video."""

    def __init__(self, context: Context, index: int) -> None:
        self._store = context.workspace.store
        self._prefix = f"{context.stage('baseline')}/index/{index:05d}"
        self._ids = [row["id"] for row in self._read_rows(context, index)]

    def _read_rows(self, context: Context, index: int) -> list[dict[str, Any]]:
        key = f"{context.stage('baseline')}/rows/{index:05d}.parquet"
        rows: list[dict[str, Any]] = shards.open_file(self._store, key).read(columns=["id"]).to_pylist()
        return rows

    def videos(self) -> list[dict[str, Any]]:
        """Return one record a video (VIDEO_SCHEMA), sorted."""
        return self._table("videos")

    def rows(self) -> dict[str, list[RowName]]:
        """Return the rows of each video, by video and id."""
        found: dict[str, list[RowName]] = {}
        for id_, row in zip(self._ids, self._table("rows"), strict=True):
            index = None if row["index"] is None else int(row["index"])
            segment = None if row["original"] is None else Segment(row["original"], index)
            found.setdefault(row["video_id"], []).append(
                RowName(id_, row["segment_file"], segment, row["duration_s"])
            )  # fmt: skip
        return found

    def tars(self, kind: str) -> dict[str, tuple[TarContent, dict[str, StreamInfo | None]]]:
        """Return the members of each readable raw or transcribed tar, with the STREAMINFO of its FLACs."""
        sort = raw_content if kind == RAW else transcribed_content
        found = {}
        members = (member for member in self._table("members") if member["tar"] == kind)
        for video, group in groupby(members, key=lambda member: member["video_id"]):
            by_name = {member["name"]: member for member in group}
            content = sort(video, by_name)
            found[video] = (content, {name: stored(by_name[member]) for name, member in content.flacs.items()})
        return found

    def _table(self, name: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = shards.open_file(self._store, f"{self._prefix}-{name}.parquet").read().to_pylist()
        return rows

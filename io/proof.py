"""The proof for one range of videos: every frozen row is put into its bucket."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from resplice.io import refusals, shards
from resplice.io.context import Context
from resplice.io.joined import JoinedRange, VideoView
from resplice.io.live import UNJUDGED, counted
from resplice.transforms import settled
from resplice.transforms.affected import better
from resplice.transforms.coverage import Bucket, Result, Standing, place
from resplice.transforms.names import stem
from resplice.transforms.records import Segment
from resplice.transforms.replace import RUN

COLUMNS = ("video_id", "segment_file", "stem", "bucket", "status", "reason", "detail")
COVERAGE = pa.schema([(name, pa.string()) for name in COLUMNS])


class Cover:
    """Cover one range: (range, {"range", "spills", "standings"}) → its counts; the rows go to `verify/parts/`.

    `standings` are (video_id, Standing, ids of the runs whose results count for it).
    """

    def __init__(self, context: Context) -> None:
        self._context = context

    def __call__(self, joined: tuple[int, dict[str, Iterable[Any]]]) -> Iterator[dict[str, Any]]:
        """Cover the range."""
        index, sides = joined
        if not list(sides["range"]):
            return
        standings = {video: (standing, runs) for video, standing, runs in sides["standings"]}
        videos = JoinedRange(self._context, index, sides["spills"])
        plain = videos.settled.videos & ~settled.within(videos.ids, pa.array(list(standings), pa.string()))
        records: list[dict[str, Any]] = []
        orphans = videos.strays
        for video in videos.views(~plain):
            standing, runs = standings.get(video.id, (Standing(), ()))
            found, strange = _results(video, runs)
            records += _placed(video, standing, found)
            orphans += strange
        table = pa.concat_tables([_validated(videos, plain), pa.Table.from_pylist(records, COVERAGE)])
        table = shards.sorted_by(table, "video_id").combine_chunks()
        data = shards.encode(table, self._context.run.metadata())
        refusals.put(self._context.workspace.store, f"{self._context.stage('verify')}/parts/{index:05d}.parquet", data)
        yield {"range": index, "rows": len(table), "orphans": orphans, "counts": _counts(table)}


def _validated(videos: JoinedRange, plain: np.ndarray) -> pa.Table:
    """Return the coverage of settled videos of which the run planned and refused nothing: each row has its verdict."""
    mask = pa.array(settled.within(videos.rows["video_id"], videos.ids.filter(pa.array(plain))))
    rows, number = videos.rows.filter(mask), videos.settled.result.filter(mask)
    status, reasons = (videos.results[name].take(number) for name in ("status", "reasons"))
    nothing = pa.nulls(len(rows), pa.string())
    columns = {
        "video_id": rows["video_id"],
        "segment_file": rows["segment_file"],
        "stem": rows["stem"],
        "bucket": pa.repeat(str(Bucket.VALIDATED), len(rows)),
        "status": pc.if_else(pc.equal(status, UNJUDGED), None, status),
        "reason": nothing,
        "detail": pc.if_else(pc.equal(reasons, ""), None, reasons),
    }
    return shards.sorted_by(pa.table(columns, COVERAGE), "video_id", "segment_file")


def _placed(video: VideoView, standing: Standing, found: dict[Segment, Result]) -> Iterator[dict[str, Any]]:
    for row in sorted(video.rows, key=lambda row: (row.segment_file, str(row.id))):
        put = place(standing, found.get(row.segment) if row.segment else None)
        yield {
            "video_id": video.id,
            "segment_file": row.segment_file,
            "stem": stem(row.segment) if row.segment else None,
            "bucket": str(put.bucket),
            "status": put.status,
            "reason": put.reason,
            "detail": put.detail,
        }


def _results(video: VideoView, runs: Iterable[str]) -> tuple[dict[Segment, Result], int]:
    """Return the result that counts of each segment with a row, and the number of results without one."""
    segments, ours = {row.segment for row in video.rows if row.segment}, set(runs)
    found: dict[Segment, Result] = {}
    orphans = 0
    for segment, result in video.by_segment():
        if segment is None or segment not in segments:
            orphans += 1
            continue
        before = found.get(segment)
        if before is None or better(before.status, result.status) == result.status:
            found[segment] = Result(result.status, result.origin == RUN and result.run_id in ours, result.reasons)
    return found, orphans


def _counts(table: pa.Table) -> dict[str, int]:
    """Return the number of rows of each bucket, and of each status of those that are validated."""
    good = table.filter(pc.equal(table["bucket"], str(Bucket.VALIDATED)))
    return dict([*counted(table["bucket"]), *counted(pc.fill_null(good["status"], UNJUDGED))])

"""The proof for one range of videos: every frozen row is put into its bucket."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa

from resplice.io import refusals, shards
from resplice.io.context import Context
from resplice.io.inventory import RAW, IndexedRange
from resplice.io.live import LiveRow, read_spills
from resplice.io.planning import segment_of
from resplice.transforms.affected import OK, better
from resplice.transforms.audit import TarContent
from resplice.transforms.coverage import Result, Standing, place
from resplice.transforms.names import stem
from resplice.transforms.records import Segment
from resplice.transforms.replace import RUN

COVERAGE = pa.schema([(name, pa.string()) for name in (
    "video_id", "segment_file", "stem", "bucket", "status", "reason", "detail"
)])  # fmt: skip


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
        store = self._context.workspace.store
        indexed = IndexedRange(self._context, index)
        standings = {video: (standing, runs) for video, standing, runs in sides["standings"]}
        results: dict[str, list[LiveRow]] = {}
        for result in read_spills(store, sides["spills"]):
            results.setdefault(result.video_id, []).append(result)
        rows, raw = indexed.rows(), indexed.tars(RAW)
        records: list[dict[str, Any]] = []
        orphans = 0
        for video in indexed.videos():
            id_ = video["video_id"]
            standing, runs = standings.get(id_, (Standing(), ()))
            contents = raw.get(id_, (TarContent(), {}))[0]
            raw_names = frozenset(f"{n}.flac" for n in contents.flacs) if video["raw_tar"] == OK else None
            known = rows.get(id_, [])
            found, strange = _by_segment(
                results.get(id_, []), raw_names, {row.segment for row in known if row.segment}, runs
            )
            orphans += strange
            for row in sorted(known, key=lambda row: (row.segment_file, str(row.id))):
                put = place(standing, found.get(row.segment) if row.segment else None)
                records.append({
                    "video_id": id_, "segment_file": row.segment_file,
                    "stem": stem(row.segment) if row.segment else None, "bucket": str(put.bucket),
                    "status": put.status, "reason": put.reason, "detail": put.detail,
                })  # fmt: skip
        table = pa.Table.from_pylist(records, COVERAGE)
        key = f"{self._context.stage('verify')}/parts/{index:05d}.parquet"
        refusals.put(store, key, shards.encode(table, self._context.run.metadata()))
        yield {"range": index, "rows": len(records), "orphans": orphans, "counts": _counts(records)}


def _by_segment(
    results: Iterable[LiveRow], raw_names: frozenset[str] | None, segments: set[Segment], runs: Iterable[str]
) -> tuple[dict[Segment, Result], int]:
    """Return the result that counts of each segment, and the number of results without a row."""
    ours = set(runs)
    found: dict[Segment, Result] = {}
    orphans = 0
    for result in results:
        segment = segment_of(result, raw_names)
        if segment is None or segment not in segments:
            orphans += 1
            continue
        before = found.get(segment)
        if before is None or better(before.status, result.status) == result.status:
            found[segment] = Result(result.status, result.origin == RUN and result.run_id in ours, result.reasons)
    return found, orphans


def _counts(records: Iterable[dict[str, Any]]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for record in records:
        counts[record["bucket"]] += 1
        if record["bucket"] == "validated":
            counts[record["status"] or "unjudged"] += 1
    return dict(counts)

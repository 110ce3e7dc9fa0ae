"""The merge's reading of the world: which planned videos drifted, and which shards hold which of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from resplice.io import live, snapshots
from resplice.io.context import Context
from resplice.io.work import Planned, planned, planned_ids
from resplice.transforms import provenance
from resplice.transforms.records import Reason
from resplice.transforms.replace import IndexRow, Shard, replacement


class CheckDrift:
    """Compare planned videos with their baseline once more: [start, stop) of the plan → (video_id, why it does not
    count, or "").

    `same_rows`: the version of the database tells that no row has changed.
    """

    def __init__(self, context: Context, refused: Collection[str], same_rows: bool) -> None:
        self._context = context
        self._refused = frozenset(refused)
        self._same_rows = same_rows

    @cached_property
    def _planned(self) -> list[Planned]:
        return planned(self._context)

    def __call__(self, part: tuple[int, int]) -> Iterator[tuple[str, str]]:
        """Check some videos; one that was refused before is not looked at again."""
        videos = self._planned[slice(*part)]
        todo = [video for video in videos if video.video_id not in self._refused]
        digests = {} if self._same_rows else self._digests(todo)
        for video in videos:
            if video.video_id in self._refused:
                yield video.video_id, "refused"
                continue
            head = self._context.raw.store.head(f"{video.video_id}.tar")
            same_raw = (head.token if head else None) == video.raw_token
            same_rows = digests.get(video.video_id, video.rows_digest) == video.rows_digest
            yield video.video_id, "" if same_raw and same_rows else Reason.DRIFTED

    def _digests(self, videos: Sequence[Planned]) -> dict[str, str]:
        rows = self._context.rows.of([video.video_id for video in videos])
        return {video: provenance.rows_digest(row.columns for row in found) for video, found in rows.items()}


class IndexPlanned:
    """Index the planned videos of one shard: (side, shard) → (video_id, (side, shard, number of rows))."""

    def __init__(self, context: Context) -> None:
        self._context = context

    @cached_property
    def _planned(self) -> frozenset[str]:
        return frozenset(planned_ids(self._context))  # read where it is needed: no job graph carries them

    def __call__(self, sided: tuple[str, Shard]) -> Iterator[tuple[str, tuple[str, str, int]]]:
        """Read the ids of one shard."""
        side, shard = sided
        planned = pa.array(sorted(self._planned.difference(shard.drop)), pa.string())
        ids = live.read_ids(self._context, shard)
        for video, rows in live.counted(ids.filter(pc.is_in(ids, value_set=planned))):
            yield video, (side, shard.key or shard.source, rows)


class Replace:
    """Decide for each planned video what goes and what comes: (video_id, joined sides) → Replacement as JSON."""

    def __init__(self, on_missing: str) -> None:
        self._on_missing = on_missing

    def __call__(self, joined: tuple[str, dict[str, Iterable[Any]]]) -> Iterator[dict[str, Any]]:
        """Decide one video; videos that are not planned pass by."""
        video, sides = joined
        state = list(sides["planned"])
        if state:
            old, new = _sided(sides["rows"], "old"), _sided(sides["rows"], "new")
            decision = replacement(video, old, [] if state[0] else new, self._on_missing)
            yield {**asdict(decision), "state": state[0]}


def _sided(rows: Iterable[tuple[str, str, int]], wanted: str) -> list[IndexRow]:
    return [IndexRow(shard, count) for side, shard, count in rows if side == wanted]


class Adopt:
    """Make immutable objects of the historical shards that no snapshot names yet: shard → what became of it."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def __call__(self, shard: Shard) -> Iterator[dict[str, Any]]:
        """Adopt one shard."""
        adopted = snapshots.adopt(self._context.workspace.store, self._context.validation.store, shard)
        yield {"source": shard.source, "key": adopted.key, "sha256": adopted.sha256}


def with_objects(live_shards: Iterable[Shard], adopted: Iterable[dict[str, Any]]) -> list[Shard]:
    """Return the live shards with the objects that `Adopt` made of them."""
    objects = {record["source"]: record for record in adopted}
    return [
        shard if shard.key else replace(shard, key=objects[shard.source]["key"], sha256=objects[shard.source]["sha256"])
        for shard in live_shards
    ]

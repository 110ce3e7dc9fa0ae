"""The merge's reading of the world: which planned videos drifted, and which shards hold which of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from resplice.io import live, sidecars, snapshots, spans
from resplice.io.context import Context
from resplice.io.spans import Listing
from resplice.io.store import mapped
from resplice.io.work import Planned, planned_ids
from resplice.transforms import provenance
from resplice.transforms.records import Reason
from resplice.transforms.repack import tar_name
from resplice.transforms.replace import RUN, IndexRow, Shard, Tar, moved, replacement

PER_CHECK = 500
"""Videos whose rows are read again by one query."""


@dataclass(frozen=True)
class Candidate:
    """A planned video, and whether a stage before this one refused it."""

    video: Planned
    refused: bool

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Candidate:
        """Make a candidate from what JSON says of it."""
        return cls(Planned.from_json(value["video"]), value["refused"])


def listed(context: Context, videos: Iterable[Planned], refused: Collection[str]) -> Listing[Candidate]:
    """Write the planned videos where `CheckDrift` reads them, those of one query a span."""
    candidates = (Candidate(video, video.video_id in refused) for video in videos)
    return spans.write(context, "merge", "planned", candidates, Candidate.from_json, PER_CHECK)


class CheckDrift:
    """Compare planned videos with their baseline once more: some of them → (video_id, why it does not count, or "").

    `same_rows`: the version of the database tells that no row has changed.
    """

    def __init__(self, context: Context, same_rows: bool) -> None:
        self._context = context
        self._same_rows = same_rows

    def __call__(self, candidates: Sequence[Candidate]) -> Iterator[tuple[str, str]]:
        """Check some videos; one that was refused before is not looked at again."""
        todo = [candidate.video for candidate in candidates if not candidate.refused]
        digests = {} if self._same_rows else self._digests(todo)
        raw = dict(mapped(self._context.raw.store, self._raw_token, [video.video_id for video in todo]))
        for candidate in candidates:
            video = candidate.video
            if candidate.refused:
                yield video.video_id, "refused"
                continue
            same_raw = raw[video.video_id] == video.raw_token
            same_rows = digests.get(video.video_id, video.rows_digest) == video.rows_digest
            yield video.video_id, "" if same_raw and same_rows else Reason.DRIFTED

    def _raw_token(self, video_id: str) -> tuple[str, str | None]:
        head = self._context.raw.store.head(f"{video_id}.tar")
        return video_id, head.token if head else None

    def _digests(self, videos: Sequence[Planned]) -> dict[str, str]:
        rows = self._context.rows.of([video.video_id for video in videos])
        return {video: provenance.rows_digest(row.columns for row in found) for video, found in rows.items()}


class IndexPlanned:
    """Index the planned videos of one shard: (side, shard) → (video_id, (side, shard, number of rows))."""

    def __init__(self, context: Context) -> None:
        self._context = context

    @cached_property
    def _planned(self) -> pa.Array:
        return pa.array(planned_ids(self._context), pa.string())  # read where it is needed: no job graph carries them

    def __call__(self, sided: tuple[str, Shard]) -> Iterator[tuple[str, tuple[str, str, int]]]:
        """Read the ids of one shard."""
        side, shard = sided
        ids = live.read_ids(self._context, shard)
        dropped = frozenset(shard.drop)
        for video, rows in live.counted(ids.filter(pc.is_in(ids, value_set=self._planned))):
            if video not in dropped:
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


def others(context: Context, live_shards: Iterable[Shard]) -> list[Shard]:
    """Return the live shards that are not this run's own, which its merge replaces as a whole."""
    return [shard for shard in live_shards if (shard.origin, shard.run_id) != (RUN, context.run.id)]


def holds_for(context: Context, before: Sequence[Shard], now: Sequence[Shard]) -> bool:
    """Return whether what was decided over live shards (adopted) holds for those of now: no planned video has a row in
    what differs. Reads the video ids of that, and nothing else.
    """
    if not all(shard.key for shard in now):
        return False
    index = IndexPlanned(context)
    differ = moved(others(context, before), others(context, now), planned_ids(context))
    return not any(rows for shard in differ for rows in index(("old", shard)))


def with_known_objects(live_shards: Iterable[Shard], known: Iterable[Shard]) -> list[Shard]:
    """Return live shards with the objects of `known` ones, where they are the same version of the same file."""
    objects = {(shard.source, shard.token): shard for shard in known if shard.token}
    return [
        replace(shard, key=same.key, sha256=same.sha256)
        if not shard.key and (same := objects.get((shard.source, shard.token)))
        else shard
        for shard in live_shards
    ]


@dataclass(frozen=True)
class Brought:
    """What a run brings: its shards and tars as a snapshot names them, and the bytes of each of these objects, as
    object key → key in the workspace.
    """

    shards: list[Shard]
    tars: dict[str, Tar]
    sources: dict[str, str]


def brought(
    context: Context, new: Iterable[Shard], videos: Iterable[Planned], refused: Collection[str],
    unrepaired: Collection[str],
) -> Brought:  # fmt: skip
    """Return what a run brings; nothing is written. Rows of `refused` videos do not count, nor do the tars of
    `unrepaired` ones.
    """
    found, store, made = Brought([], {}, {}), context.workspace.store, list(new)
    for shard, own in zip(made, mapped(store, lambda shard: _own_shard(context, shard, refused), made), strict=True):
        found.shards.append(own)
        found.sources[own.key] = shard.key
    repaired = [video.video_id for video in videos if video.wrong_tar and video.video_id not in unrepaired]
    keys = [f"{context.stage('repair')}/transcribed/{tar_name(video)}" for video in repaired]
    for video, key, tar in zip(repaired, keys, mapped(store, lambda key: _own_tar(context, key), keys), strict=True):
        if tar is not None:
            found.tars[video] = tar
            found.sources[tar.key] = key
    return found


def _own_shard(context: Context, shard: Shard, without: Collection[str]) -> Shard:
    data = context.workspace.store.read(shard.key)
    there = pq.read_table(pa.BufferReader(data), columns=["video_id"]).column(0).unique().to_pylist()
    sha = provenance.sha256(data)
    drop = tuple(sorted(set(there) & set(without)))
    return replace(shard, key=snapshots.object_key(sha, ".parquet"), sha256=sha, drop=drop)


def _own_tar(context: Context, key: str) -> Tar | None:
    """Return a repaired tar as an immutable object, None if it is not finished."""
    store = context.workspace.store
    sidecar, head = sidecars.load(store, key), store.head(key)
    if sidecar is None or head is None:
        return None
    sha = sidecar["run_provenance"]["outputs"]["tar"]["sha256"]
    return Tar(snapshots.object_key(sha, ".tar"), sha, head.size)

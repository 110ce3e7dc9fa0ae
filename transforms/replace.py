"""Whole-video replacement: what a snapshot is, and how one is made from another."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

HISTORY, RUN = "history", "run"


@dataclass(frozen=True)
class Shard:
    """One parquet shard of results. `key` is its immutable object in the workspace ("" for a historical shard
    that no snapshot names yet: it stands at `source`); rows of the videos in `drop` do not count.
    """

    source: str
    token: str
    origin: str
    run_id: str
    rows: int
    key: str = ""
    sha256: str = ""
    drop: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Shard:
        """Make a shard from what JSON says of it."""
        return cls(**{**value, "drop": tuple(value["drop"])})


@dataclass(frozen=True)
class Tar:
    """A repaired tar as an immutable object."""

    key: str
    sha256: str
    bytes: int


@dataclass(frozen=True)
class Replaced:
    """Which run replaced a video, in which snapshot, and the tar it made (None: the tar was right)."""

    run_id: str
    snapshot: int
    tar: Tar | None = None


@dataclass(frozen=True)
class Snapshot:
    """One published state of the merged results. Number 0 is history as found; it is never written.

    `retired` are the historical shards (path, token) that earlier snapshots name and this one, rolled back, does not.
    """

    number: int = 0
    parent: int | None = None
    parent_sha256: str = ""
    run_id: str = ""
    kind: str = "merge"
    shards: tuple[Shard, ...] = ()
    videos: dict[str, Replaced] = field(default_factory=dict)
    retired: tuple[tuple[str, str], ...] = ()

    @property
    def named(self) -> set[tuple[str, str]]:
        """Return the historical shards, by path and token, that this or an earlier snapshot names."""
        return {(shard.source, shard.token) for shard in self.shards if shard.origin == HISTORY} | set(self.retired)

    @property
    def objects(self) -> list[str]:
        """Return the keys of all objects that this snapshot names, sorted."""
        tars = (entry.tar.key for entry in self.videos.values() if entry.tar)
        return sorted({*(shard.key for shard in self.shards), *tars})

    def to_json(self) -> dict[str, Any]:
        """Return the snapshot as JSON can say it."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Snapshot:
        """Make a snapshot from what `to_json` returned."""
        shards = tuple(map(Shard.from_json, value["shards"]))
        videos = {
            video: Replaced(entry["run_id"], entry["snapshot"], Tar(**entry["tar"]) if entry["tar"] else None)
            for video, entry in value["videos"].items()
        }
        retired = tuple((source, token) for source, token in value["retired"])
        return cls(**{**value, "shards": shards, "videos": videos, "retired": retired})


def live_shards(latest: Snapshot, found: Iterable[Shard]) -> list[Shard]:
    """Return the shards whose rows are the live results: the snapshot's, plus the historical shards `found` that it
    does not name by path and token. A historical file that changed takes the place of its former version; videos that
    a run replaced do not come back through a new file.
    """
    new = [shard for shard in found if (shard.source, shard.token) not in latest.named]
    changed = {shard.source for shard in new}
    kept = [shard for shard in latest.shards if not (shard.origin == HISTORY and shard.source in changed)]
    replaced = tuple(sorted(latest.videos))
    return ordered([*kept, *(replace(shard, drop=replaced) for shard in new)])


def ordered(shards: Iterable[Shard]) -> list[Shard]:
    """Return shards in the one order that everything uses: history by path, then runs by id and path."""
    return sorted(shards, key=lambda shard: (shard.origin != HISTORY, shard.run_id, shard.source, shard.token))


def conflicts(latest: Snapshot, base: int, run_id: str, planned: Collection[str]) -> list[str]:
    """Return the planned videos that another run replaced after snapshot `base`, which this run planned from."""
    return sorted(
        video
        for video in planned
        if (entry := latest.videos.get(video)) and entry.run_id != run_id and entry.snapshot > base
    )


def moved(
    before: Sequence[Shard], after: Sequence[Shard], planned: Collection[str]
) -> list[Shard]:  # fmt: skip
    """Return the shards of each of two live states that the other does not have with the same drops among `planned`.

    If none of them has a row of a planned video that counts, both states hold the same rows of the planned videos, in
    the same shards: what was decided over one holds for the other.
    """
    ours = frozenset(planned)

    def looks(shards: Sequence[Shard]) -> dict[tuple[str, frozenset[str]], Shard]:
        return {
            (shard.key or f"{shard.source}@{shard.token}", ours.intersection(shard.drop)): shard for shard in shards
        }

    one, other = looks(before), looks(after)
    return [shard for look, shard in one.items() if look not in other] + [
        shard for look, shard in other.items() if look not in one
    ]


@dataclass(frozen=True)
class IndexRow:
    """What crosses the shuffle for one video of one shard: how many rows it has there."""

    shard: str
    rows: int


@dataclass(frozen=True)
class Replacement:
    """What happens to one planned video: the shards to drop it from, and the new rows that take their place."""

    video_id: str
    drop_from: tuple[str, ...]
    old_rows: int
    new_rows: int
    kept: bool = False


def replacement(video_id: str, old: Sequence[IndexRow], new: Sequence[IndexRow], on_missing: str) -> Replacement:
    """Decide for one planned video: all its old rows go, in every shard, whatever came; with `keep` they stay
    readable where the backfill brought none.
    """
    old_rows, new_rows = (sum(row.rows for row in rows) for rows in (old, new))
    if on_missing == "keep" and not new_rows:
        return Replacement(video_id, (), old_rows, 0, kept=old_rows > 0)
    return Replacement(video_id, tuple(sorted({row.shard for row in old})), old_rows, new_rows)


def merged(
    latest: Snapshot, live: Sequence[Shard], new: Sequence[Shard], drops: Mapping[str, Collection[str]],
    replaced: Mapping[str, Tar | None], run_id: str, parent_sha256: str,
) -> Snapshot:  # fmt: skip
    """Return the next snapshot: `live` (all adopted: every key set) without this run's former shards and with
    `drops` (shard key → videos) added, plus the run's `new` shards; `replaced` names the videos that are now the run's.
    """
    number = latest.number + 1
    old = [shard for shard in live if not (shard.origin == RUN and shard.run_id == run_id)]
    old = [replace(shard, drop=tuple(sorted({*shard.drop, *drops.get(shard.key, ())}))) for shard in old]
    videos = dict(latest.videos)
    for video, tar in replaced.items():
        before = videos.get(video)
        same = before is not None and before.run_id == run_id and before.tar == tar
        videos[video] = before if same and before else Replaced(run_id, number, tar)
    return Snapshot(number, latest.number or None, parent_sha256, run_id, "merge", tuple(ordered([*old, *new])),
                    dict(sorted(videos.items())), latest.retired)  # fmt: skip


def rolled_back(latest: Snapshot, target: Snapshot, parent_sha256: str, run_id: str) -> Snapshot:
    """Return the next snapshot with the state of an earlier one; number 0 is history as found: every historical
    shard that the snapshots ever named, nothing dropped.
    """
    held = {(shard.source, shard.token) for shard in target.shards}
    return replace(target, number=latest.number + 1, parent=latest.number, parent_sha256=parent_sha256,
                   run_id=run_id, kind="rollback", retired=tuple(sorted(latest.named - held)))  # fmt: skip


def as_found(latest: Snapshot) -> Snapshot:
    """Return snapshot 0 as the latest one remembers it: its historical shards without drops, and nothing else."""
    return Snapshot(shards=tuple(replace(s, drop=()) for s in latest.shards if s.origin == HISTORY))

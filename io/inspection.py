"""Everything that is known of one video, as found: what cannot be read becomes a note, never an error."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from resplice.io import live, runstate, shards, snapshots
from resplice.io.context import Context
from resplice.io.inventory import read_names
from resplice.io.live import LiveRow
from resplice.io.rows import Row
from resplice.io.store import Store
from resplice.io.tarstate import RAW, TRANSCRIBED, TarState, open_tar
from resplice.transforms.affected import OK, UNREADABLE
from resplice.transforms.audit import Reading, RowName, faults  # fmt: skip
from resplice.transforms.audit import read_names as read_members
from resplice.transforms.records import Damage, UserError, valid_video_id
from resplice.transforms.repack import tar_name
from resplice.transforms.replace import HISTORY, Shard, Snapshot, live_shards

_STAGES = ("plan", "repair", "validate", "merge")


@dataclass(frozen=True)
class Tarred:
    """A transcribed tar against the rows: `reading` is None unless it is readable; `wrong` says why it does not fit."""

    tar: TarState
    reading: Reading | None = None
    wrong: tuple[str, ...] = ()


@dataclass(frozen=True)
class Found:
    """A result. `note`: "" for a live one, else why it is none (`replaced`, `not merged`)."""

    row: LiveRow
    note: str = ""


@dataclass
class Inspection:
    """One video: rows, tars, results, and what a run did with it. `notes` tell what could not be read."""

    video_id: str
    status: str | None = None
    rows: dict[int | str, Row] = field(default_factory=dict)
    names: list[RowName] = field(default_factory=list)
    raw: TarState = field(default_factory=TarState)
    transcribed: Tarred = field(default_factory=lambda: Tarred(TarState()))
    repaired: Tarred | None = None
    repaired_by: str = ""
    results: list[Found] = field(default_factory=list)
    planned: list[str] = field(default_factory=list)
    outcomes: list[str] = field(default_factory=list)
    coverage: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    in_database: bool = False

    @property
    def known(self) -> bool:
        """Return whether any place knows the video."""
        tars = (self.raw, self.transcribed.tar)
        return bool(self.in_database or self.results or self.outcomes or self.coverage
                    or any(tar.state in (OK, UNREADABLE) and tar.token for tar in tars))  # fmt: skip


def inspect(context: Context, video_id: str) -> Inspection:
    """Return what all places tell of a video; with a run id in the context, also what that run did with it."""
    found = Inspection(video_id)
    _read_rows(context, found)
    found.raw = _tar(context.raw.store, f"{video_id}.tar", found, RAW)
    names, _ = read_names(found.rows.values(), found.raw.names)
    found.names = names
    found.transcribed = _audited(_tar(context.transcribed.store, tar_name(video_id), found, TRANSCRIBED), found)
    latest = snapshots.latest(context.workspace.store)
    _read_repaired(context, found, latest)
    found.results = sorted(_results(context, found, latest), key=lambda r: r.row.origin != HISTORY)
    if context.run.id:
        _read_run(context, found)
    return found


def _read_rows(context: Context, found: Inspection) -> None:
    id_ = found.video_id
    try:
        found.rows = {row.id: row for row in context.rows.of([id_])[id_]}
        statuses = context.rows.status_of([id_])
    except UserError as error:
        found.notes.append(str(error))
        return
    found.status = statuses.get(id_)
    found.in_database = bool(found.rows or id_ in statuses)


def _tar(store: Store, key: str, found: Inspection, kind: str) -> TarState:
    if not valid_video_id(found.video_id):
        return TarState(UNREADABLE, detail="bad_name: this video_id could not name files")
    try:
        return open_tar(store, key, found.video_id, kind)
    except OSError as error:
        head = store.head(key)
        return TarState(UNREADABLE, token=head.token if head else "?", detail=error.strerror or str(error))


def _audited(tar: TarState, found: Inspection) -> Tarred:
    if tar.state != OK:
        return Tarred(tar)
    reading = read_members(tar.content, found.names, found.raw.names)
    wrong = faults(tar.content, reading, found.names, tar.infos or {})
    return Tarred(tar, reading, tuple(sorted(map(str, wrong))))


def _read_repaired(context: Context, found: Inspection, latest: Snapshot) -> None:
    """Find the repaired tar: the run's own, if one is named and has it, else the one that the latest snapshot names."""
    store = context.workspace.store
    own = f"{context.stage('repair')}/transcribed/{tar_name(found.video_id)}"
    entry = latest.videos.get(found.video_id)
    if context.run.id and store.head(own):
        found.repaired_by, key = f"run {context.run.id}", own
    elif entry and entry.tar:
        found.repaired_by, key = f"run {entry.run_id}, snapshot {entry.snapshot}", entry.tar.key
    else:
        return
    found.repaired = _audited(_tar(store, key, found, TRANSCRIBED), found)


def _results(context: Context, found: Inspection, latest: Snapshot) -> Iterator[Found]:
    for shard in _all_shards(context, latest):
        note = "replaced" if found.video_id in shard.drop else ""
        yield from _of_shard(context, replace(shard, drop=()), found, note)
    entry = latest.videos.get(found.video_id)
    if context.run.id and not (entry and entry.run_id == context.run.id):
        for head in context.workspace.store.list(f"{context.stage('validate')}/shards/"):
            if head.key.endswith(".parquet"):
                shard = Shard(head.key, head.token, "run", context.run.id, 0, key=head.key)
                yield from _of_shard(context, shard, found, "not merged")


def _all_shards(context: Context, latest: Snapshot) -> list[Shard]:
    """Return the live shards as `snapshots.live` does, without opening a file: a damaged one must not hide the rest."""
    heads = (head for head in context.validation.store.list() if head.key.endswith(".parquet"))
    return live_shards(latest, [Shard(head.key, head.token, HISTORY, "", 0) for head in heads])


def _of_shard(context: Context, shard: Shard, found: Inspection, note: str) -> Iterator[Found]:
    try:
        table = live.read_shard(context, shard)
    except (UserError, OSError) as error:
        found.notes.append(f"results: {str(error).partition(': mend or remove')[0]}")
        return
    rows = table.filter(pc.fill_null(pc.equal(table.column("video_id"), found.video_id), False)).to_pylist()
    for row in rows:
        why = tuple(row["reasons"].split(",")) if row["reasons"] else ()
        status = row["status"] or live.UNJUDGED
        yield Found(LiveRow(found.video_id, row["segment_file"], status, why, shard.origin, shard.run_id), note)


def _read_run(context: Context, found: Inspection) -> None:
    """Read what the run planned, refused and covered."""
    store, id_ = context.workspace.store, found.video_id
    runstate.record(context)
    for row in _rows_of(store, f"{context.stage('plan')}/affected.parquet", found):
        found.planned = list(row["reasons"])
        found.outcomes.append("planned: " + ", ".join(row["reasons"]))
    for stage in _STAGES:
        refused = [line for line in runstate.refused(context, stage) if line.unit == id_]
        found.outcomes += [f"{stage} refused it: {line.reason}: {line.detail}".rstrip(": ") for line in refused]
    found.coverage = list(_rows_of(store, f"{context.stage('verify')}/coverage.parquet", found))


def _rows_of(store: Store, key: str, found: Inspection) -> Iterator[dict[str, Any]]:
    if store.head(key) is None:
        return
    try:
        for batch in shards.open_file(store, key).iter_batches():
            same = pc.fill_null(pc.equal(batch.column("video_id"), found.video_id), False)
            yield from batch.filter(same).to_pylist()
    except (Damage, OSError, KeyError, pa.ArrowException) as error:
        found.notes.append(f"{key}: {error}")

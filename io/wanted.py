"""What `finalize` wants of a verified run: which tars shall be replaced, which videos get the validated status."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from resplice.io import documents, shards, snapshots
from resplice.io.context import Context
from resplice.io.effects import statuses_now
from resplice.io.journal import STATUS, TAR, Wanted
from resplice.io.work import Planned
from resplice.transforms.records import Exit, UserError
from resplice.transforms.replace import Snapshot


def verified(context: Context) -> Snapshot:
    """Return the latest snapshot. UserError (exit 4) unless it is the one that verify saw."""
    store, key = context.workspace.store, f"{context.stage('verify')}/coverage.json"
    number = documents.load(store, key)["snapshot"]
    latest = snapshots.latest(store)
    if latest.number != number:
        raise UserError(
            f"verify of run {context.run.id!r} saw snapshot {number}, the latest is {latest.number}: "
            f"run `resplice verify --run-id {context.run.id}` again",
            Exit.CONFLICT,
        )
    return latest


def wanted_tars(context: Context, latest: Snapshot, videos: Sequence[Planned]) -> list[Wanted]:
    """Return the tars that this run repaired and the snapshot names. UserError (exit 4) if an object is missing."""
    wanted = []
    for video in videos:
        entry = latest.videos.get(video.video_id)
        if entry is None or entry.run_id != context.run.id or entry.tar is None:
            continue
        if context.workspace.store.head(entry.tar.key) is None:
            raise UserError(
                f"snapshot {latest.number} names {entry.tar.key} for {video.video_id!r}, but it is missing in "
                f"{context.workspace.url}: restore it",
                Exit.CONFLICT,
            )
        wanted.append(Wanted(TAR, video.video_id, entry.tar.sha256, video.transcribed_token))
    return wanted


def wanted_statuses(context: Context, videos: Sequence[Planned]) -> list[Wanted]:
    """Return the statuses of the planned videos with rows, all of which are validated; a video that the videos table
    never had is left out.
    """
    full = _fully_validated(context, videos)
    there = statuses_now(context, [video.video_id for video in full])
    after = context.settings.finalize.validated_status
    return [
        Wanted(STATUS, video.video_id, after, video.validation_status)
        for video in full
        if video.validation_status is not None or not there[video.video_id].gone
    ]


def _fully_validated(context: Context, videos: Sequence[Planned]) -> list[Planned]:
    key = f"{context.stage('verify')}/coverage.parquet"
    table = shards.read(context.workspace.store, key, {"video_id": pa.string(), "bucket": pa.string()})
    good = table.filter(pc.equal(table.column("bucket"), "validated"))
    rows, validated = (Counter(_counts(one)) for one in (table, good))
    return [v for v in videos if v.rows and v.rows == rows[v.video_id] == validated[v.video_id]]


def _counts(table: pa.Table) -> dict[str, int]:
    return {one["values"]: one["counts"] for one in pc.value_counts(table.column("video_id")).to_pylist()}

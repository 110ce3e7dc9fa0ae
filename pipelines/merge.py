"""Replace the results of planned videos as a whole, beside the untouched rest, and publish a snapshot.

    resplice merge --run-id recovery-a --on-missing drop

Reads   the run's validate shards, the live results (by column, planned videos only), rows and raw tokens once more.
Writes  objects/sha256/…, snapshots/{number}.json and its sidecar.
Skips   publishing, if the latest snapshot is the one it would make.
Refuses a video that changed since the baseline: drifted. Another run that replaced a planned video: exit 4.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from operator import attrgetter
from typing import Any

from resplice.io import shards, sidecars, snapshots
from resplice.io.context import Context
from resplice.io.gather import Gather, gathered
from resplice.io.judging import refused_in, shard_key
from resplice.io.merging import Adopt, CheckDrift, IndexPlanned, Replace, with_objects
from resplice.io.progress import by_marks, marked
from resplice.io.work import Item, Planned, items, planned
from resplice.pipelines import launch
from resplice.pipelines.baseline import load_world
from resplice.pipelines.config import Resolved
from resplice.pipelines.launch import Session
from resplice.transforms.records import Exit, Reason, Refusal, UserError
from resplice.transforms.repack import tar_name
from resplice.transforms.replace import RUN, Shard, Snapshot, Tar, conflicts, merged

PER_CHECK = 500
"""Videos whose rows are read again by one query."""


def run(args: Any, resolved: Resolved, beam_argv: Sequence[str]) -> int:
    """Run the command."""
    return launch.run("merge", args, resolved, beam_argv, merge)


@launch.stage("merge")
def merge(session: Session) -> None:
    """Merge the results of the run into the published state."""
    context = session.context
    workspace, id_ = context.workspace.store, context.run.id
    videos = planned(context)
    latest = snapshots.latest(workspace)
    _check_conflicts(context, latest, [video.video_id for video in videos])
    live = snapshots.live(workspace, context.validation.store, context.settings.history.status_column)
    todo = items(context, "validate", videos)
    new = new_shards(context, todo)
    refused, unrepaired = refused_in(context, "repair", "validate"), refused_in(context, "repair")
    unadopted = [shard for shard in live if not shard.key]
    parts = len(checks(videos)) + len(sides_of(context, live, new)) + len(unadopted)
    session.note(f"merge: {len(videos)} planned videos, {len(new)} new shards, snapshot {latest.number}")
    with session.progress(by_marks(context, "merge", parts)), session.pipeline() as pipeline:
        build(pipeline, context, videos, live, new, CheckDrift(context, refused, _same_rows(context)))
        if unadopted:
            adopt(pipeline, context, unadopted)
    decisions = {record["video_id"]: record for record in gathered(context, "merge", "replacements")}
    drifted = sorted(video for video, record in decisions.items() if record["state"] == Reason.DRIFTED)
    live = with_objects(live, gathered(context, "merge", "adopted")) if unadopted else live
    names = {shard.source: shard.key for shard in live}
    drops: dict[str, list[str]] = {}
    for video, record in decisions.items():
        for name in record["drop_from"]:
            drops.setdefault(names.get(name, name), []).append(video)
    replaced = {
        video.video_id: _tar(context, video, latest, {*unrepaired, *drifted})
        for video in videos
        if not decisions[video.video_id]["kept"]
    }
    new = [_own(context, shard, {*drifted, *refused}) for shard in new]
    number = latest.number
    snapshot = merged(latest, live, new, drops, replaced, id_, snapshots.digest_of(workspace, number))
    if (snapshot.shards, snapshot.videos) != (latest.shards, latest.videos):
        snapshots.publish(workspace, snapshot)
        number = snapshot.number
    _sidecar(context, number)
    _finish(session, videos, decisions, drifted, number)


def build(
    pipeline: Any, context: Context, videos: Sequence[Planned], live: Sequence[Shard], new: Sequence[Shard],
    check: CheckDrift,
) -> Any:  # fmt: skip
    """Compose the pipeline: drift once more, index both sides, CoGroupByKey over video_id."""
    from resplice.transforms.steps import JoinByKey, Tally, Work, source

    drift = marked(context, "merge", "drift", check)
    index = marked(context, "merge", "index", IndexPlanned(context), _name)
    found = {
        "planned": pipeline | "Planned" >> source(checks(videos)) | "Drift" >> Work(drift, "Check"),
        "rows": pipeline | "Shards" >> source(sides_of(context, live, new)) | "Index" >> Work(index, "Index"),
    }
    decided = found | "Replace" >> JoinByKey(Replace(context.settings.merge.on_missing), "Decide")
    return decided | "Replacements" >> Tally(Gather(context, "merge", "replacements"))


def adopt(pipeline: Any, context: Context, unadopted: Sequence[Shard]) -> Any:
    """Compose the adoption of history, once for each historical shard."""
    from resplice.transforms.steps import Tally, Work, source

    copy = marked(context, "merge", "adopt", Adopt(context), attrgetter("source"))
    adopted = pipeline | "Unadopted" >> source(unadopted) | "Adopt" >> Work(copy, "Copy")
    return adopted | "Adopted" >> Tally(Gather(context, "merge", "adopted"))


def checks(videos: Sequence[Planned]) -> list[tuple[int, int]]:
    """Return the parts of the plan that are checked for drift together, as [start, stop) of its videos."""
    return [(start, min(start + PER_CHECK, len(videos))) for start in range(0, len(videos), PER_CHECK)]


def sides_of(context: Context, live: Sequence[Shard], new: Sequence[Shard]) -> list[tuple[str, Shard]]:
    """Return the shards with their side: what is live but for this run's own, and what is new."""
    old = [shard for shard in live if (shard.origin, shard.run_id) != (RUN, context.run.id)]
    return [("old", shard) for shard in old] + [("new", shard) for shard in new]


def _same_rows(context: Context) -> bool:
    """Return whether the version of the database is that of the baseline, so that its rows need not be read again."""
    frozen = load_world(context).rows_version
    return bool(frozen) and context.rows.version == frozen


def _name(sided: tuple[str, Shard]) -> tuple[str, str, str]:
    return sided[0], sided[1].key, sided[1].source


def _check_conflicts(context: Context, latest: Snapshot, ids: Sequence[str]) -> None:
    base = launch.read_json(context, "plan", "plan.json")["snapshot"]
    if taken := conflicts(latest, base, context.run.id, ids):
        others = sorted({latest.videos[video].run_id for video in taken})
        raise UserError(
            f"{len(taken)} planned videos were replaced meanwhile by run {', '.join(others)} (first: {taken[0]}); "
            f"this run was planned from snapshot {base}, the latest is {latest.number}: start a new run",
            Exit.CONFLICT,
        )


def new_shards(context: Context, todo: Sequence[Item]) -> list[Shard]:
    """Return the validate shards of the run that are there and finished."""
    store = context.workspace.store
    found = []
    for item in todo:
        key = shard_key(context, item)
        head = store.head(key)
        if head is not None and sidecars.exists(store, key):
            rows = shards.open_file(store, key).metadata.num_rows
            found.append(Shard(item.name, "", RUN, context.run.id, rows, key))
    return found


def _own(context: Context, shard: Shard, without: Collection[str]) -> Shard:
    """Return a validate shard as an immutable object; videos that were refused since do not count."""
    store = context.workspace.store
    there = shards.open_file(store, shard.key).read(columns=["video_id"]).column(0).unique().to_pylist()
    key, sha = snapshots.adopt_own(store, shard.key, ".parquet")
    return Shard(shard.source, "", RUN, shard.run_id, shard.rows, key, sha, tuple(sorted(set(there) & set(without))))


def _tar(context: Context, video: Planned, latest: Snapshot, without: Collection[str]) -> Tar | None:
    """Return the repaired tar of a video as an immutable object; without one, what the snapshot named before."""
    id_ = video.video_id
    key = f"{context.stage('repair')}/transcribed/{tar_name(id_)}"
    sidecar = sidecars.load(context.workspace.store, key)
    if video.wrong_tar and sidecar and id_ not in without:
        return snapshots.own_tar(context.workspace.store, key, sidecar["run_provenance"]["outputs"]["tar"]["sha256"])
    return latest.videos[id_].tar if id_ in latest.videos else None


def _sidecar(context: Context, number: int) -> None:
    """Write the sidecar of the latest snapshot, unless it is there: a snapshot counts from its creation."""
    place, key = context.workspace, snapshots.key_of(number)
    if not number or sidecars.exists(place.store, key):
        return
    snapshot = snapshots.load(place.store, number)
    inputs = {
        f"shard:{shard.source}": sidecars.described(place, shard.key, shard.sha256)
        for shard in snapshot.shards
        if shard.run_id == context.run.id
    }
    stats = {
        "shards": len(snapshot.shards),
        "rows": sum(s.rows for s in snapshot.shards),
        "videos": len(snapshot.videos),
    }
    outputs = {"snapshot": sidecars.described(place, key)}
    sidecars.write(place.store, key, sidecars.content(context, "snapshot", stats=stats, inputs=inputs, outputs=outputs))


def _finish(
    session: Session, videos: Sequence[Planned], decisions: dict[str, Any], drifted: Sequence[str], number: int
) -> None:
    context = session.context
    state = snapshots.load(context.workspace.store, number) if number else Snapshot()
    kept = [video for video, record in decisions.items() if record["kept"] and video not in drifted]
    ours = {video for video, entry in state.videos.items() if entry.run_id == context.run.id}
    done = sum(video.video_id in ours - set(drifted) for video in videos)
    detail = "rows or raw tar are not those of the baseline; --refresh freezes them anew"
    refused = [session.refused("merge", video, Refusal(Reason.DRIFTED, detail)) for video in drifted]
    summary = session.finish("merge", len(videos), done, len(kept), refused)
    rows = sum(decisions[video.video_id]["new_rows"] for video in videos)
    session.say(
        f"merge: snapshot {number}: the results of {summary.done} videos replaced by {rows} new rows, "
        f"{len(kept)} kept their old ones, {summary.refused} drifted"
    )

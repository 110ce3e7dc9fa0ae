"""Replace the results of planned videos as a whole, beside the untouched rest, and publish a snapshot.

    resplice merge --run-id recovery-a --on-missing drop

Reads   the run's validate shards, the live results (by column, planned videos only), rows and raw tokens once more.
Writes  objects/sha256/…, snapshots/{number}.json and its sidecar.
Skips   publishing, if the latest snapshot is the one it would make.
Refuses a video that changed since the baseline: drifted. Another run that replaced a planned video: exit 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from resplice.io import garbage, shards, sidecars, snapshots, spans
from resplice.io.context import Context
from resplice.io.gather import Gather, collect, gathered
from resplice.io.judging import refused_in, shard_key
from resplice.io.merging import (
    PER_CHECK,
    Adopt,
    Brought,
    Candidate,
    CheckDrift,
    IndexPlanned,
    Replace,
    brought,
    holds_for,
    listed,
    others,
    with_known_objects,
    with_objects,
)
from resplice.io.progress import by_marks, marked
from resplice.io.spans import Listing
from resplice.io.store import mapped
from resplice.io.work import Item, Planned, items, planned
from resplice.pipelines import launch
from resplice.pipelines.baseline import load_world
from resplice.pipelines.config import Resolved
from resplice.pipelines.launch import Session
from resplice.transforms.records import Exit, Reason, Refusal, UserError
from resplice.transforms.replace import RUN, Shard, Snapshot, conflicts, merged


def run(args: Any, resolved: Resolved, beam_argv: Sequence[str]) -> int:
    """Run the command."""
    return launch.run("merge", args, resolved, beam_argv, merge)


@launch.stage("merge")
def merge(session: Session) -> None:
    """Merge the results of the run into the published state.

    Another publisher who takes the number first costs a look at what he changed; the pipeline runs again only if that
    holds rows of planned videos.
    """
    context, decided = session.context, None
    workspace, videos = context.workspace.store, planned(context)
    while True:
        latest = snapshots.latest(workspace)
        _check_conflicts(context, latest, videos)
        live = snapshots.live(workspace, context.validation.store, context.settings.history.status_column)
        live = with_known_objects(live, decided.live if decided else ())
        if decided is None or not holds_for(context, decided.live, live):
            decided = _decide(session, videos, latest, live)
            live = decided.live
            _make(context, decided, latest)
        snapshot = decided.onto(latest, live, context.run.id, snapshots.digest_of(workspace, latest.number))
        if (snapshot.shards, snapshot.videos) == (latest.shards, latest.videos):
            snapshot = latest
            break
        _check_columns(context, snapshot)
        if snapshots.publish(workspace, snapshot):
            break
        session.note(f"merge: another process published snapshot {snapshot.number} meanwhile; going on from that")
    garbage.withdraw(workspace, context.run.id)
    _describe(context, snapshot)
    _finish(session, videos, decided, snapshot)


@dataclass(frozen=True)
class Decided:
    """What the pipeline decided of each planned video, over live shards that are adopted, and what the run brings."""

    live: list[Shard]
    records: dict[str, dict[str, Any]]
    brought: Brought

    @property
    def drifted(self) -> list[str]:
        """Return the videos that changed since the baseline."""
        return sorted(video for video, record in self.records.items() if record["state"] == Reason.DRIFTED)

    def onto(self, latest: Snapshot, live: Sequence[Shard], run_id: str, parent_sha256: str) -> Snapshot:
        """Return the snapshot that follows the latest one."""
        drops: dict[str, list[str]] = {}
        for video, record in self.records.items():
            for key in record["drop_from"]:
                drops.setdefault(key, []).append(video)
        former = {video: entry.tar for video, entry in latest.videos.items()}
        replaced = {
            video: self.brought.tars.get(video, former.get(video))
            for video, record in self.records.items()
            if not record["kept"]
        }
        return merged(latest, live, self.brought.shards, drops, replaced, run_id, parent_sha256)


def _decide(session: Session, videos: Sequence[Planned], latest: Snapshot, live: list[Shard]) -> Decided:
    """Run the pipeline over what is live now."""
    context = session.context
    new = new_shards(context, items(context, "validate", videos))
    refused, unrepaired = refused_in(context, "repair", "validate"), refused_in(context, "repair")
    unadopted = [shard for shard in live if not shard.key]
    candidates = listed(context, videos, refused)
    parts = len(candidates.spans) + len(sides_of(context, live, new)) + len(unadopted)
    session.note(f"merge: {len(videos)} planned videos, {len(new)} new shards, snapshot {latest.number}")
    with session.progress(by_marks(context, "merge", parts)):
        with session.pipeline() as pipeline:
            build(pipeline, context, candidates, live, new, CheckDrift(context, _same_rows(context)))
            if unadopted:
                adopt(pipeline, context, unadopted)
        for name in ("replacements", *(["adopted"] if unadopted else [])):
            collect(context, "merge", name)
    live = with_objects(live, gathered(context, "merge", "adopted")) if unadopted else live
    names = {shard.source: shard.key for shard in live}
    records = {record["video_id"]: record for record in gathered(context, "merge", "replacements")}
    for record in records.values():
        record["drop_from"] = [names.get(name, name) for name in record["drop_from"]]
    drifted = {video for video, record in records.items() if record["state"] == Reason.DRIFTED}
    return Decided(live, records, brought(context, new, videos, {*refused, *drifted}, {*unrepaired, *drifted}))


def _make(context: Context, decided: Decided, latest: Snapshot) -> None:
    """Make the objects that the snapshot will name and the latest one does not, out of the reach of gc."""
    workspace, sources = context.workspace.store, decided.brought.sources
    named = {*sources, *(shard.key for shard in decided.live)}.difference(latest.objects)
    garbage.announce(workspace, context.run.id, named)
    own = sorted(named.intersection(sources))
    for _ in mapped(workspace, lambda object_: snapshots.own(workspace, sources[object_], object_), own):
        pass
    for shard in decided.live:
        if shard.key in named and workspace.head(shard.key) is None:  # gc took it after a worker had found it there
            snapshots.adopt(workspace, context.validation.store, replace(shard, key=""))


def build(
    pipeline: Any, context: Context, candidates: Listing[Candidate], live: Sequence[Shard], new: Sequence[Shard],
    check: CheckDrift,
) -> Any:  # fmt: skip
    """Compose the pipeline: drift once more, index both sides, CoGroupByKey over video_id."""
    from resplice.transforms.steps import HandBack, JoinByKey, Work, source

    drift = marked(context, "merge", "drift", candidates.lines.all(check))
    sides = spans.write(context, "merge", "shards", sides_of(context, live, new), side_of)
    index = marked(context, "merge", "index", sides.lines.each(IndexPlanned(context)))
    found = {
        "planned": pipeline | "Planned" >> source(candidates.spans) | "Drift" >> Work(drift, "Check"),
        "rows": pipeline | "Shards" >> source(sides.spans) | "Index" >> Work(index, "Index"),
    }
    replacements = Gather(context, "merge", "replacements", PER_CHECK * len(candidates.spans))
    decided = found | "Replace" >> JoinByKey(Replace(context.settings.merge.on_missing), "Decide")
    return decided | "Replacements" >> HandBack(replacements)


def adopt(pipeline: Any, context: Context, unadopted: Sequence[Shard]) -> Any:
    """Compose the adoption of history, once for each historical shard."""
    from resplice.transforms.steps import HandBack, Work, source

    listed = spans.write(context, "merge", "unadopted", unadopted, Shard.from_json)
    copy = marked(context, "merge", "adopt", listed.lines.each(Adopt(context)))
    adopted = pipeline | "Unadopted" >> source(listed.spans) | "Adopt" >> Work(copy, "Copy")
    return adopted | "Adopted" >> HandBack(Gather(context, "merge", "adopted", len(unadopted)))


def sides_of(context: Context, live: Sequence[Shard], new: Sequence[Shard]) -> list[tuple[str, Shard]]:
    """Return the shards with their side: what is live but for this run's own, and what is new."""
    return [("old", shard) for shard in others(context, live)] + [("new", shard) for shard in new]


def side_of(value: Any) -> tuple[str, Shard]:
    """Make a shard with its side from what JSON says of it."""
    side, shard = value
    return side, Shard.from_json(shard)


def _same_rows(context: Context) -> bool:
    """Return whether the version of the database is that of the baseline, so that its rows need not be read again."""
    frozen = load_world(context).rows_version
    return bool(frozen) and context.rows.version == frozen


def _check_conflicts(context: Context, latest: Snapshot, videos: Sequence[Planned]) -> None:
    """Raise UserError (exit 4) if another run replaced a planned video since the plan: this one will never publish."""
    base = launch.read_json(context, "plan", "plan.json")["snapshot"]
    if taken := conflicts(latest, base, context.run.id, [video.video_id for video in videos]):
        garbage.withdraw(context.workspace.store, context.run.id)
        first = latest.videos[taken[0]]
        raise UserError(
            f"{len(taken)} planned videos were replaced meanwhile, the first, {taken[0]}, by run {first.run_id} in "
            f"snapshot {first.snapshot}; run {context.run.id} was planned from snapshot {base}: start a new run",
            Exit.CONFLICT,
        )


def _check_columns(context: Context, snapshot: Snapshot) -> None:
    """Raise UserError if nobody could read the snapshot as a whole."""
    try:
        snapshots.check_columns(context.workspace.store, snapshot)
    except UserError:
        garbage.withdraw(context.workspace.store, context.run.id)
        raise


def new_shards(context: Context, todo: Sequence[Item]) -> list[Shard]:
    """Return the validate shards of the run that are there and finished."""
    store = context.workspace.store
    there = {head.key for head in store.list(f"{context.stage('validate')}/shards/")}

    def shard(item: Item) -> Shard:
        key = shard_key(context, item)
        return Shard(item.name, "", RUN, context.run.id, shards.open_file(store, key).metadata.num_rows, key)

    keys = {item.name: shard_key(context, item) for item in todo}
    ended = [item for item in todo if {keys[item.name], keys[item.name] + sidecars.SUFFIX} <= there]
    return list(mapped(store, shard, ended))


def _describe(context: Context, state: Snapshot) -> None:
    """Write the sidecars of the snapshots that this run published, unless they are there: one counts from its creation,
    and others may have published since.
    """
    place, id_ = context.workspace, context.run.id
    numbers = {entry.snapshot for entry in state.videos.values() if entry.run_id == id_}
    if (state.run_id, state.kind) == (id_, "merge"):
        numbers.add(state.number)
    for number in sorted(numbers):
        if not sidecars.exists(place.store, snapshots.key_of(number)):
            _sidecar(context, snapshots.load(place.store, number))


def _sidecar(context: Context, snapshot: Snapshot) -> None:
    place, key = context.workspace, snapshots.key_of(snapshot.number)
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


def _finish(session: Session, videos: Sequence[Planned], decided: Decided, state: Snapshot) -> None:
    records, drifted = decided.records, decided.drifted
    kept = [video for video, record in records.items() if record["kept"] and video not in drifted]
    ours = {video for video, entry in state.videos.items() if entry.run_id == session.context.run.id}
    done = sum(video.video_id in ours - set(drifted) for video in videos)
    detail = "rows or raw tar are not those of the baseline; --refresh freezes them anew"
    refused = [session.refused("merge", video, Refusal(Reason.DRIFTED, detail)) for video in drifted]
    summary = session.finish("merge", len(videos), done, len(kept), refused)
    rows = sum(records[video.video_id]["new_rows"] for video in videos)
    session.say(
        f"merge: snapshot {state.number}: the results of {summary.done} videos replaced by {rows} new rows, "
        f"{len(kept)} kept their old ones, {summary.refused} drifted"
    )

"""Name the affected videos, each with its reasons.

    resplice plan --run-id recovery-a --reason split_rows --limit 100

Reads   the baseline's index, the live results, the repaired tars of earlier runs.
Writes  plan/affected.txt, affected.parquet, plan.json.
Skips   everything, while baseline and selection are those of the plan that is there.
Refuses a video whose id could not name files: bad_name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import Any

import pyarrow as pa

from resplice.io import documents, live, refusals, runstate, shards, sidecars, snapshots, spans
from resplice.io.context import Context
from resplice.io.gather import Gather, collect, gathered
from resplice.io.planning import FindAffected
from resplice.io.progress import by_marks, marked
from resplice.pipelines import checks, launch
from resplice.pipelines.baseline import World, load_world
from resplice.pipelines.config import Resolved
from resplice.pipelines.launch import Session
from resplice.transforms import provenance
from resplice.transforms.affected import Selection, select
from resplice.transforms.ranges import range_of
from resplice.transforms.records import Reason, Refusal
from resplice.transforms.replace import Shard, Snapshot, Tar, live_shards

AFFECTED = pa.schema(
    [
        ("video_id", pa.string()),
        ("reasons", pa.list_(pa.string())),
        ("rows", pa.int64()),
        ("raw_bytes", pa.int64()),
        ("audio_s", pa.float64()),
    ]
)
REAL_TIME_FACTOR = 400.0
"""Seconds of audio that one worker repairs and validates in a second: short 16 kHz mono segments (see the README)."""


def run(args: Any, resolved: Resolved, beam_argv: Sequence[str]) -> int:
    """Run the command."""
    return launch.run("plan", args, resolved, beam_argv, lambda session: make(session, selection(session)))


def selection(session: Session) -> Selection:
    """Return the wave that the arguments and settings ask for."""
    videos = frozenset(checks.read_ids(session.args.videos)) if session.args.videos else None
    return Selection(session.settings.plan.reasons, videos, session.args.limit)


@launch.stage("plan")
def make(session: Session, wave: Selection) -> None:
    """Plan the run, unless just this plan is there already."""
    context = session.context
    store, stage = context.workspace.store, context.stage("plan")
    asked = _asked(context, wave)
    before = documents.load(store, f"{stage}/asked.json") if store.head(f"{stage}/asked.json") else {}
    if {**before, "base": None} == {**asked, "base": None} and sidecars.exists(store, f"{stage}/affected.parquet"):
        session.note(f"plan: made for run {context.run.id} already")
        show(session)
        return
    base = snapshots.load(store, before["base"]) if "base" in before else snapshots.latest(store)
    store.delete(f"{stage}/affected.parquet{sidecars.SUFFIX}")
    refusals.put(store, f"{stage}/asked.json", provenance.document({**asked, "base": base.number}))
    world = load_world(context)
    session.note(f"plan: comparing {len(world.bounds) + 1} ranges with the live results of snapshot {base.number}")
    parts = len(live.groups(live_shards(base, world.history))) + len(world.bounds) + 1
    with session.progress(by_marks(context, "plan", parts)):
        with session.pipeline() as pipeline:
            build(pipeline, context, world, base)
        collect(context, "plan", "candidates")
    _write(session, wave, base, asked["world"]["baseline.json"])
    _tell(session, wave)
    show(session)


def _asked(context: Context, wave: Selection) -> dict[str, Any]:
    """Return what the plan depends on besides the base snapshot: the frozen world, the settings, the wave."""
    videos = None if wave.videos is None else sorted(wave.videos)
    history = provenance.plain(context.settings.history)
    statuses = list(context.settings.plan.failed_statuses)
    return {
        "world": checks.frozen_world(context),
        "history": history, "failed_statuses": statuses, "reasons": list(wave.reasons), "videos": videos,
        "limit": wave.limit,
    }  # fmt: skip


def build(pipeline: Any, context: Context, world: World, base: Snapshot) -> Any:
    """Compose the pipeline: index the live results, join them with the inventory by range, find the affected."""
    import apache_beam as beam

    from resplice.transforms.steps import HandBack, JoinByKey, source

    repaired = ((range_of(world.bounds, v), (v, entry.tar)) for v, entry in base.videos.items() if entry.tar)
    tars = spans.write(context, "plan", "tars", repaired, _tar_of, spans.PER_SPAN)
    sides = by_range(pipeline, context, "plan", world, live_shards(base, world.history))
    sides["tars"] = pipeline | "RepairedTars" >> source(tars.spans) | "Read" >> beam.FlatMap(tars.lines)
    found = sides | "Affected" >> JoinByKey(
        marked(context, "plan", "range", FindAffected(context), itemgetter(0)), "Find"
    )
    return found | "Candidates" >> HandBack(Gather(context, "plan", "candidates", _videos(context)))


def _tar_of(value: Any) -> tuple[int, tuple[str, Tar]]:
    index, (video, tar) = value
    return index, (video, Tar(**tar))


def by_range(pipeline: Any, context: Context, stage: str, world: World, shards_: Iterable[Shard]) -> dict[str, Any]:
    """Compose what plan and verify share: the ranges, and the live results indexed by range."""
    from resplice.transforms.steps import Work, source

    listed = live.listed(context, stage, shards_)
    index = listed.lines.each(live.IndexShards(context, stage, world.bounds))
    spills = (
        pipeline
        | "LiveShards" >> source(listed.spans)
        | "IndexResults" >> Work(marked(context, stage, "shard", index, itemgetter(0)), "Index")
    )
    ranges = pipeline | "Ranges" >> source([(index, index) for index in range(len(world.bounds) + 1)])
    return {"range": ranges, "spills": spills}


def _write(session: Session, wave: Selection, base: Snapshot, baseline_sha256: str) -> None:
    context = session.context
    store, stage = context.workspace.store, context.stage("plan")
    found = gathered(context, "plan", "candidates")
    affected = {video["video_id"]: video for video in found if "reasons" in video}
    planned = select({video: entry["reasons"] for video, entry in affected.items()}, wave)
    rows = [{name: affected[video][name] for name in AFFECTED.names} for video in planned]
    text = "".join(f"{video}\n" for video in planned).encode()
    facts = {
        "run_id": context.run.id,
        "videos": len(planned),
        "by_reason": dict(sorted(Counter(reason for row in rows for reason in row["reasons"]).items())),
        "affected_sha256": provenance.sha256(text),
        "baseline_sha256": baseline_sha256,
        "raw_bytes": sum(row["raw_bytes"] or 0 for row in rows),
        "audio_s": sum(row["audio_s"] or 0.0 for row in rows),
        "estimate_s": round(sum(row["audio_s"] or 0.0 for row in rows) / REAL_TIME_FACTOR, 3),
        "snapshot": base.number,
        "not_selected": len(affected) - len(planned),
        "originals_without_rows": sum(affected[video]["originals_without_rows"] for video in planned),
    }
    parquet = shards.encode(pa.Table.from_pylist(rows, AFFECTED), context.run.metadata())
    refusals.put(
        store, f"{stage}/left_out.txt", "".join(f"{v}\n" for v in sorted(affected.keys() - set(planned))).encode()
    )
    refusals.put(store, f"{stage}/affected.txt", text)
    refusals.put(store, f"{stage}/affected.parquet", parquet)
    refusals.put(store, f"{stage}/plan.json", provenance.document(facts))
    bad = [
        session.refused("plan", video["video_id"], Refusal(Reason.BAD_NAME, f"video_id {video['video_id']!r}"))
        for video in found
        if "refused" in video
    ]
    healthy = sum(record["healthy"] for record in found if "healthy" in record)
    session.finish("plan", _videos(context), len(planned), healthy + facts["not_selected"], bad)
    _sidecar(context, facts, bad)


def _tell(session: Session, wave: Selection) -> None:
    """Say what the plan does not use: work of other runs that was never merged, listed ids that are not affected."""
    context = session.context
    store = context.workspace.store
    merged = {snapshots.load(store, number).run_id for number in snapshots.numbers(store)}
    for run_id in runstate.known_runs(context.workspace.store):
        if run_id not in (*merged, context.run.id) and refusals.load_summary(
            context.workspace.store, f"runs/{run_id}/validate"
        ):
            session.note(f"plan: run {run_id!r} was validated, but never merged: its work is not used")
    if wave.videos is not None:
        found = {record.get("video_id") for record in gathered(context, "plan", "candidates")}
        if strange := sorted(wave.videos - found):
            session.note(f"plan: {len(strange)} of the listed videos are not affected (first: {strange[0]})")


def _videos(context: Context) -> int:
    baseline = launch.read_json(context, "baseline", "baseline.json")
    return int(baseline["videos"])


def _sidecar(context: Context, facts: dict[str, Any], bad: Sequence[refusals.Refused]) -> None:
    place, stage = context.workspace, context.stage("plan")
    names = ("affected.parquet", "affected.txt", "plan.json")
    outputs = {name.replace(".", "_"): sidecars.described(place, f"{stage}/{name}") for name in names}
    inputs = {
        name.replace(".", "_"): sidecars.described(place, f"{context.stage('baseline')}/{name}")
        for name in ("baseline.json", "videos.parquet")
    }
    if facts["snapshot"]:
        inputs["snapshot"] = sidecars.described(place, snapshots.key_of(facts["snapshot"]))
    refused = [{"unit": line.unit, "reason": line.reason, "detail": line.detail} for line in bad]
    content = sidecars.content(context, "plan", stats=facts, inputs=inputs, outputs=outputs, refused=refused)
    sidecars.write(place.store, f"{stage}/affected.parquet", content)


def show(session: Session) -> None:
    """Print the plan."""
    context = session.context
    facts = launch.read_json(context, "plan", "plan.json")
    hours = facts["audio_s"] / 3600
    session.say(
        f"plan {facts['run_id']}: {facts['videos']} videos, {hours:.2f} h of audio, "
        f"{facts['raw_bytes'] / 1e6:.1f} MB raw, about {facts['estimate_s'] / 60:.1f} min on one worker; "
        f"{facts['not_selected']} affected videos left out"
    )
    for reason, count in facts["by_reason"].items():
        session.say(f"  {reason:20} {count:>8}")

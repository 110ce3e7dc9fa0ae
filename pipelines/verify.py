"""Prove it: every row of the baseline in exactly one bucket.

    resplice verify --run-id recovery-a

Reads   the frozen rows, the live results of the latest snapshot, the refusals of every stage.
Writes  verify/coverage.parquet (one row a baseline row), coverage.json; report.html and report.json of the run.
Skips   nothing. Refuses nothing: a gap is a bucket.
Exit 3 if a row is unaccounted, or a stage refused more than run.max_refused.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from resplice.io import live, refusals, shards, sidecars, snapshots, spans
from resplice.io.context import Context
from resplice.io.gather import Gather, collect, gathered
from resplice.io.judging import refused_in
from resplice.io.progress import by_marks, marked
from resplice.io.proof import COVERAGE, Cover
from resplice.io.work import planned
from resplice.pipelines import launch, report
from resplice.pipelines.baseline import World, load_world
from resplice.pipelines.config import Resolved
from resplice.pipelines.launch import Session
from resplice.pipelines.plan import by_range
from resplice.transforms import provenance
from resplice.transforms.coverage import Bucket, Standing
from resplice.transforms.ranges import range_of
from resplice.transforms.records import Exit, Reason, valid_video_id
from resplice.transforms.replace import Shard, Snapshot, live_shards

STAGES = ("plan", "repair", "validate", "merge")
Standings = list[tuple[int, tuple[str, Standing, tuple[str, ...]]]]


def run(args: Any, resolved: Resolved, beam_argv: Sequence[str]) -> int:
    """Run the command."""
    return launch.run("verify", args, resolved, beam_argv, job)


def job(session: Session) -> None:
    """Verify, write the report, and say where it is."""
    prove(session)
    if not session.dry:
        session.say(f"report: {report.path(session.context)}")


def prove(session: Session) -> None:
    """Verify, and write the report."""
    verify(session)
    report.write(session.context, session.seconds)


@launch.stage("verify")
def verify(session: Session) -> None:
    """Cover every row, and say whether the coverage is complete."""
    context = session.context
    world = load_world(context)
    latest = snapshots.latest(context.workspace.store)
    session.note(f"verify: covering {len(world.bounds) + 1} ranges with snapshot {latest.number}")
    live_ = live_now(context, latest)
    parts = len(live.groups(live_)) + len(world.bounds) + 1
    with session.progress(by_marks(context, "verify", parts)):
        with session.pipeline() as pipeline:
            build(pipeline, context, world, live_, standings(context, world, latest))
        collect(context, "verify", "counts")
    facts = _assemble(context, latest.number, len(world.bounds) + 1)
    session.finish("verify", facts["rows"], facts["rows"], 0, [], unit="row")
    _show(session, facts)
    above = exceeded(session)
    for stage in above:
        session.note(f"verify: {stage} refused more than run.max_refused = {session.settings.run.max_refused}")
    if not facts["complete"] or above:
        session.exit_code = Exit.INCOMPLETE


def live_now(context: Context, latest: Snapshot) -> list[Shard]:
    """Return the shards whose rows are the live results at this moment."""
    found = snapshots.found_history(context.validation.store, context.settings.history.status_column)
    return live_shards(latest, found)


def standings(context: Context, world: World, latest: Snapshot) -> Standings:
    """Return where each planned, left out or refused video stands, by range, with the runs whose results count."""
    base = launch.read_json(context, "plan", "plan.json")["snapshot"]
    refused = refused_in(context, *STAGES)
    drifted = {line.unit for s in STAGES for line in refusals.load(context.workspace.store, context.stage(s))
               if line.reason == Reason.DRIFTED}  # fmt: skip
    found: dict[str, tuple[Standing, tuple[str, ...]]] = {}
    for line in refusals.load(context.workspace.store, context.stage("plan")):
        found[line.unit] = (Standing(reason=line.reason, detail=line.detail), ())
    left_out = context.workspace.store.read(f"{context.stage('plan')}/left_out.txt").decode().splitlines()
    found.update((video, (Standing(left_out=True), ())) for video in left_out)
    for video in planned(context):
        id_ = video.video_id
        entry, refusal = latest.videos.get(id_), refused.get(id_)
        runs = {context.run.id} | ({entry.run_id} if entry and entry.snapshot > base else set())
        reason, detail = (refusal.reason, refusal.detail) if refusal else ("", "")
        if id_ in drifted:
            reason = Reason.DRIFTED
        found[id_] = (Standing(True, False, reason, detail), tuple(sorted(runs)))
    ranges = range(len(world.bounds) + 1)
    return [
        (index, (video, *entry))
        for video, entry in sorted(found.items())
        # The database sorts an id that is not UTF-8 by its bytes, so any range may hold it.
        for index in ([range_of(world.bounds, video)] if valid_video_id(video) else ranges)
    ]


def standing_of(value: Any) -> tuple[int, tuple[str, Standing, tuple[str, ...]]]:
    """Make an entry of the standings from what JSON says of it."""
    index, (video, standing, runs) = value
    return index, (video, Standing(**standing), tuple(runs))


def build(pipeline: Any, context: Context, world: World, live_: list[Shard], stands: Standings) -> Any:
    """Compose the pipeline: index the live results, join them with the frozen rows by range, fill the buckets."""
    import apache_beam as beam

    from resplice.transforms.steps import HandBack, JoinByKey, source

    sides = by_range(pipeline, context, "verify", world, live_)
    listed = spans.write(context, "verify", "standings", stands, standing_of, spans.PER_SPAN)
    sides["standings"] = pipeline | "Standings" >> source(listed.spans) | "Read" >> beam.FlatMap(listed.lines)
    covered = sides | "Cover" >> JoinByKey(marked(context, "verify", "range", Cover(context), itemgetter(0)), "Place")
    return covered | "Counts" >> HandBack(Gather(context, "verify", "counts"))


def _assemble(context: Context, snapshot: int, ranges: int) -> dict[str, Any]:
    """Join the parts into coverage.parquet, and add up coverage.json."""
    place, stage = context.workspace, context.stage("verify")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "coverage.parquet"
        schema = COVERAGE.with_metadata(context.run.metadata())
        with pq.ParquetWriter(path, schema, compression="zstd", write_page_checksum=True) as writer:
            for index in range(ranges):
                part = shards.open_file(place.store, f"{stage}/parts/{index:05d}.parquet").read()
                writer.write_table(part.replace_schema_metadata(context.run.metadata()))
        key = f"{stage}/coverage.parquet"
        sha = sidecars.file_digest(path)
        if place.store.head(key) is None or sidecars.digest(place.store, key) != sha:
            place.store.replace(key, path, None)
    counts: Counter[str] = Counter()
    records = gathered(context, "verify", "counts")
    for record in records:
        counts.update(record["counts"])
    facts = {
        "run_id": context.run.id,
        "snapshot": snapshot,
        "rows": sum(record["rows"] for record in records),
        "buckets": {str(bucket): counts[bucket] for bucket in Bucket},
        **{name: counts[name] for name in ("validated", "passed", "failed", "unjudged")},
        "orphans": sum(record["orphans"] for record in records),
        "drifted": _drifted(context),
        "kept": _kept(context),
        "complete": counts[Bucket.UNACCOUNTED] == 0,
    }
    document = provenance.document(facts)
    refusals.put(place.store, f"{stage}/coverage.json", document)
    if not sidecars.vouches(place.store, key, sha, provenance.sha256(document)):
        _sidecar(context, facts)
    return facts


def _drifted(context: Context) -> int:
    store = context.workspace.store
    lines = (line for stage in STAGES for line in refusals.load(store, context.stage(stage)))
    return len({line.unit for line in lines if line.reason == Reason.DRIFTED})


def _kept(context: Context) -> int:
    """Return the number of DB rows whose video kept its old results."""
    kept = {record["video_id"] for record in gathered(context, "merge", "replacements") if record["kept"]}
    return sum(video.rows for video in planned(context) if video.video_id in kept)


def _sidecar(context: Context, facts: dict[str, Any]) -> None:
    place, stage = context.workspace, context.stage("verify")
    inputs = {
        "affected": sidecars.described(place, f"{context.stage('plan')}/affected.txt"),
        "videos": sidecars.described(place, f"{context.stage('baseline')}/videos.parquet"),
    }
    if facts["snapshot"]:
        inputs["snapshot"] = sidecars.described(place, snapshots.key_of(facts["snapshot"]))
    outputs = {
        name: sidecars.described(place, f"{stage}/{file}")
        for name, file in (("parquet", "coverage.parquet"), ("json", "coverage.json"))
    }
    content = sidecars.content(context, "coverage", stats=facts, inputs=inputs, outputs=outputs)
    sidecars.write(place.store, f"{stage}/coverage.parquet", content)


def exceeded(session: Session) -> list[str]:
    """Return the stages that refused more than their share."""
    context, most = session.context, session.settings.run.max_refused
    found = {stage: refusals.load_summary(context.workspace.store, context.stage(stage)) for stage in STAGES}
    return [stage for stage, units in found.items() if units and units.total and units.refused / units.total > most]


def _show(session: Session, facts: dict[str, Any]) -> None:
    buckets = ", ".join(f"{count} {name}" for name, count in facts["buckets"].items())
    session.say(f"verify: {facts['rows']} rows: {buckets}; {'complete' if facts['complete'] else 'NOT complete'}")

"""The facts of a recovery for its report: every number from the files of the run, none from a memory of the process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from resplice.io import costs, labels, ledger, refusals, runs, runstate, shards
from resplice.io.context import Context
from resplice.io.gather import gathered
from resplice.io.refusals import Refused
from resplice.io.work import Planned, planned
from resplice.transforms import provenance
from resplice.transforms.affected import WRONG_TAR
from resplice.transforms.coverage import Bucket
from resplice.transforms.distributions import Counts, measures
from resplice.transforms.recovery_page import LEFT_OUT, NOT_AFFECTED, NOT_PLANNABLE, PLANNED

STAGES = ("plan", "repair", "validate", "merge")


def facts(context: Context, seconds: dict[str, float]) -> dict[str, Any]:
    """Return the content of report.json; a part whose stage has not ended is None. `seconds` are this process's."""
    baseline = runstate.document(context, "baseline", "baseline.json")
    plan = runstate.document(context, "plan", "plan.json")
    coverage = runstate.coverage(context)
    work = planned(context) if plan else []
    states = [state for name in STAGES if (state := runstate.stage_state(context, name))]
    flow = _flow(context, work) if coverage else None
    return {
        "run_id": context.run.id,
        "code_version": provenance.VERSION,
        "baseline": baseline,
        "plan": plan,
        "stages": {state.stage: state.to_json() for state in states},
        "coverage": coverage,
        "flow": flow,
        "changes": _changes(context, work, coverage, flow) if coverage and flow is not None else None,
        "hours": _hours(context, work, plan) if plan else None,
        "results": _results(context, work),
        "calibration": _calibration(context),
        "refused": sum(len(runstate.refused(context, name)) for name in STAGES),
        "time": {"at": provenance.now(), **time_spent(context, seconds)},
    }


def _calibration(context: Context) -> dict[str, Any] | None:
    """Return what `calibrate` found, and whether the run was judged again since."""
    found = runstate.document(context, "validate", "calibration.json")
    return {**found, "former": found.get("judged") != labels.judged(context)} if found else None


def refused(context: Context, most: int) -> list[Refused]:
    """Return the first refusals of the run, in the order of its stages."""
    found: list[Refused] = []
    for stage in STAGES:
        found += runstate.refused(context, stage)[: most - len(found)]
    return found


def _flow(context: Context, work: Sequence[Planned]) -> list[dict[str, Any]]:
    """Return the rows of the coverage counted by where their video stands, their bucket and their status."""
    store = context.workspace.store
    stands = {
        PLANNED: [video.video_id for video in work],
        LEFT_OUT: store.read(f"{context.stage('plan')}/left_out.txt").decode().splitlines(),
        NOT_PLANNABLE: [line.unit for line in refusals.load(store, context.stage("plan"))],
    }
    sets = {name: pa.array(ids, pa.string()) for name, ids in stands.items()}
    counts: Counter[tuple[str, str, str]] = Counter()
    for batch in _batches(context, "verify/coverage.parquet", ["video_id", "bucket", "status"]):
        rest = pc.invert(pa.array([False] * len(batch)))
        for name, ids in sets.items():
            here = pc.and_(rest, pc.is_in(batch.column("video_id"), value_set=ids))
            rest = pc.and_not(rest, here)
            _count(counts, name, batch.filter(here))
        _count(counts, NOT_AFFECTED, batch.filter(rest))
    return [
        {"standing": standing, "bucket": bucket, "status": status, "rows": rows}
        for (standing, bucket, status), rows in sorted(counts.items())
    ]


def _count(counts: Counter[tuple[str, str, str]], standing: str, batch: pa.RecordBatch) -> None:
    table = pa.table(batch.select(["bucket", "status"]))
    for row in table.group_by(["bucket", "status"]).aggregate([([], "count_all")]).to_pylist():
        counts[standing, row["bucket"], row["status"] or ""] += row["count_all"]


def _changes(
    context: Context, work: Sequence[Planned], coverage: dict[str, Any], flow: list[dict[str, Any]]
) -> dict[str, dict[str, int]]:
    """Return counts before and after the run. Before: what was right, so that it could be left alone."""
    videos = rows = 0
    for batch in _batches(context, "baseline/videos.parquet", ["rows"]):
        videos += pc.sum(pc.greater(batch.column("rows"), 0)).as_py() or 0
        rows += pc.sum(batch.column("rows")).as_py() or 0
    found = [line for line in gathered(context, "plan", "candidates") if line.get("rows")]
    wrong = [line["rows"] for line in found if "refused" in line or WRONG_TAR & set(line["reasons"])]
    entries = ledger.load(context.workspace.store, context.stage("repair"))
    mended = [v for v in work if v.wrong_tar and (e := entries.get(v.video_id)) and e.outcome == "done"]
    right, right_rows = videos - len(wrong), rows - sum(wrong)
    untouched = sum(
        line["rows"] for line in flow if line["standing"] == NOT_AFFECTED and line["bucket"] == Bucket.VALIDATED
    )
    return {
        "videos_right_tar": {"before": right, "after": right + len(mended), "of": videos},
        "rows_right_tar": {"before": right_rows, "after": right_rows + sum(v.rows for v in mended), "of": rows},
        "rows_validated": {"before": untouched, "after": coverage["validated"], "of": coverage["rows"]},
    }


def _hours(context: Context, work: Sequence[Planned], plan: dict[str, Any]) -> dict[str, float]:
    entries = ledger.load(context.workspace.store, context.stage("repair"))
    done = [e for video in work if (e := entries.get(video.video_id)) and e.outcome == "done"]
    repaired = sum(entry.counts.get("seconds", 0.0) for entry in done)
    return {"planned": round((plan["audio_s"] or 0.0) / 3600, 4), "repaired": round(repaired / 3600, 4)}


def _results(context: Context, work: Sequence[Planned]) -> dict[str, Any] | None:
    """Return what the validate shards hold of the planned videos: verdicts, reasons, engines, hours, distributions."""
    statuses: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    engines: Counter[str] = Counter()
    counted = [Counts(measure) for measure in measures(context.settings.validate.signal)]
    ids = pa.array([video.video_id for video in work], pa.string())
    seconds = 0.0
    store = context.workspace.store
    keys = [head.key for head in store.list(f"{context.stage('validate')}/shards/") if head.key.endswith(".parquet")]
    wanted = ["video_id", "status", "reasons", "engine", *(c.measure.column for c in counted)]
    entries = ledger.load(store, context.stage("validate"))
    for key in keys:
        file = shards.open_file(store, key)
        there = [name for name in wanted if name in file.schema_arrow.names]
        for batch in file.iter_batches(columns=there):
            batch = batch.filter(pc.is_in(batch.column("video_id"), value_set=ids))
            statuses.update(_values(batch, "status"))
            engines.update(_values(batch, "engine"))
            reasons.update(pc.list_flatten(batch.column("reasons")).to_pylist())
            if "duration_s" in there:
                seconds += pc.sum(batch.column("duration_s")).as_py() or 0.0
            _measure(counted, batch, there)
    if not statuses:
        return None
    drawn = [histogram for counts in counted if (histogram := counts.histogram())]
    return {
        "segments": statuses.total(),
        "statuses": dict(sorted(statuses.items())),
        "reasons": dict(sorted(reasons.items())),
        "engines": dict(sorted(engines.items())),
        "costs": costs.total(entry for video in work if (entry := entries.get(video.video_id))),
        "skipped": costs.skipped(entry for video in work if (entry := entries.get(video.video_id))),
        "hours": round(seconds / 3600, 4),
        "distributions": [asdict(histogram) for histogram in drawn],
    }


def _values(batch: pa.RecordBatch, name: str) -> Counter[str]:
    counts = pc.value_counts(batch.column(name)).to_pylist() if name in batch.schema.names else []
    return Counter({entry["values"] or "": entry["counts"] for entry in counts})


def _measure(counted: Sequence[Counts], batch: pa.RecordBatch, there: Sequence[str]) -> None:
    for status in set(batch.column("status").to_pylist()):
        part = batch.filter(pc.equal(batch.column("status"), status))
        for counts in counted:
            if counts.measure.column in there:
                column = part.column(counts.measure.column).drop_null()
                counts.add(status, column.cast(pa.float64()).to_numpy(zero_copy_only=False))


def time_spent(context: Context, seconds: dict[str, float]) -> dict[str, Any]:
    """Return the seconds that each stage has taken, in all processes of the run; `seconds` are those of this one."""
    record = runs.load(context.workspace.store, context.run.id) or {"processes": []}
    stages: Counter[str] = Counter(seconds)
    others = [process for process in record["processes"] if process["seq"] != context.run.seq]
    for process in others:
        stages.update(process.get("seconds", {}))
    return {
        "stages_s": {name: round(value, 1) for name, value in stages.items()},
        "total_s": round(sum(stages.values()), 1),
        "processes": len(record["processes"]),
        "without_end": [process["seq"] for process in others if process["end"] is None],
    }


def _batches(context: Context, name: str, columns: list[str]) -> Iterator[pa.RecordBatch]:
    stage, _, file = name.partition("/")
    yield from shards.open_file(context.workspace.store, f"{context.stage(stage)}/{file}").iter_batches(columns=columns)


def is_of(context: Context, stage: str) -> bool:
    """Return whether the run is of a job of one stage, which its command is named after."""
    record = runs.load(context.workspace.store, context.run.id) or {"processes": []}
    return any(process["command"] == stage for process in record["processes"])


def of_stage(context: Context, stage: str, seconds: dict[str, float], **files: str) -> dict[str, Any]:
    """Return the facts of a job of one stage for report.json, the documents `files` of the stage among them; what a run
    that has not ended cannot tell is None.
    """
    state = runstate.stage_state(context, stage)
    return {
        "run_id": context.run.id,
        "code_version": provenance.VERSION,
        "summary": state.to_json() if state else None,
        **{name: runstate.document(context, stage, file) for name, file in files.items()},
        "refused": state.refused if state else 0,
        "time": {"at": provenance.now(), **time_spent(context, seconds)},
    }

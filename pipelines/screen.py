"""The closing screen of a recovery: what was planned, repaired and validated, and where every row ended."""

from __future__ import annotations

import shlex
from collections import Counter

from rich.console import Console
from rich.table import Table
from rich.text import Text

from resplice.io import ledger, refusals, shards
from resplice.io.work import planned
from resplice.pipelines import report
from resplice.pipelines.cli import program
from resplice.pipelines.launch import Session, read_json
from resplice.pipelines.verify import exceeded
from resplice.transforms.coverage import Bucket

_BAR = 40
_STYLES = {"validated": "green", "unaccounted": "red"}


def show(session: Session) -> None:
    """Print the coverage as one screen."""
    console = Console(highlight=False, soft_wrap=True)
    plan, coverage = (
        read_json(session.context, "plan", "plan.json"),
        read_json(session.context, "verify", "coverage.json"),
    )
    console.print()
    console.rule(f"recovery {coverage['run_id']}", align="left")
    console.print(_stages(session, plan["by_reason"], plan["videos"]))
    console.print(f"\n[bold]{coverage['rows']} rows[/]  " + _verdicts(coverage))
    console.print(_buckets(coverage))
    console.print(_saved(session))
    if not session.dry:
        console.print(f"report: {report.path(session.context)}", markup=False)
    console.print(_next(session, coverage), markup=False)


def _stages(session: Session, by_reason: dict[str, int], videos: int) -> Table:
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_row("planned", f"{videos} videos")
    table.add_row("", _listed(by_reason))
    for stage in ("repair", "validate"):
        summary = refusals.load_summary(session.context.workspace.store, session.context.stage(stage))
        if summary:
            skipped = f", {summary.skipped} need nothing" if summary.skipped else ""
            table.add_row(stage, f"{summary.done} done{skipped}, {summary.refused} refused")
            if summary.by_reason:
                table.add_row("", _listed(summary.by_reason))
    return table


def _listed(by_reason: dict[str, int]) -> Text:
    most_first = sorted(by_reason.items(), key=lambda entry: (-entry[1], entry[0]))
    return Text(" · ".join(f"{count}\u00a0{reason}" for reason, count in most_first), "dim")


def _verdicts(coverage: dict[str, int]) -> str:
    text = f"of which validated: {coverage['passed']} passed, {coverage['failed']} failed"
    return text + (f", {coverage['unjudged']} without a status" if coverage["unjudged"] else "")


def _buckets(coverage: dict[str, dict[str, int]]) -> Table:
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    total = sum(coverage["buckets"].values())
    for name in Bucket:
        count = coverage["buckets"][name]
        share = count / total if total else 0.0
        full = max(1, round(share * _BAR)) if count else 0
        bar = Text("█" * full, _STYLES.get(name, "yellow")) + Text("░" * (_BAR - full), "dim")
        table.add_row(name, bar, f"{count}", f"{share:.1%}")
    return table


def _saved(session: Session) -> str:
    """Return how much audio was repaired without being transcribed again."""
    store = session.context.workspace.store
    entries = ledger.load(store, session.context.stage("repair"))
    ids = {video.video_id for video in planned(session.context)}
    done = [entry for unit, entry in entries.items() if unit in ids and entry.outcome == "done"]
    hours = sum(entry.counts.get("seconds", 0.0) for entry in done) / 3600
    return f"\n{hours:.2f} hours of audio repaired and not transcribed again"


def _unaccounted(session: Session) -> str:
    """Return what the unaccounted rows are, by reason."""
    key = f"{session.context.stage('verify')}/coverage.parquet"
    table = shards.open_file(session.context.workspace.store, key).read(columns=["bucket", "reason"])
    reasons = Counter(row["reason"] for row in table.to_pylist() if row["bucket"] == Bucket.UNACCOUNTED)
    named = {"not_selected": "left out by the plan", "drifted": "drifted", None: "without a result"}
    return ", ".join(f"{count} rows {named.get(reason, reason)}" for reason, count in reasons.most_common())


def _next(session: Session, coverage: dict[str, object]) -> str:
    run_id = session.context.run.id
    config = f" --config {shlex.quote(session.args.config)}" if session.args.config else ""
    if not coverage["complete"]:
        return (
            f"NOT complete: {_unaccounted(session)}; each row: verify/coverage.parquet of the run, "
            f"refusals: {program()} failed{config} --run-id {run_id}"
        )
    if above := exceeded(session):
        return (
            f"complete, but {' and '.join(above)} refused more than run.max_refused = "
            f"{session.settings.run.max_refused}: look at {program()} failed{config} --run-id {run_id}"
        )
    return f"complete: every row is in a named bucket.  next: {program()} finalize{config} --run-id {run_id}"

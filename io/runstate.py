"""What the files of a run tell of its stages, read while another process may be at work."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

from resplice.io import documents, ledger, refusals, runs, sidecars
from resplice.io.context import Context
from resplice.io.refusals import Refused
from resplice.io.store import Store
from resplice.transforms.records import UserError

ENDED, BEGUN = "ended", "begun"
_OF_THE_PLAN = ("repair", "validate", "merge")
_ALL_PLANNED = ("repair", "merge")
"""Stages whose units are all planned videos."""


@dataclass(frozen=True)
class StageState:
    """The units of one stage. `total` and `skipped` are None where only an ended stage knows them."""

    stage: str
    state: str
    total: int | None
    done: int
    skipped: int | None
    refused: int
    by_reason: dict[str, int] = field(default_factory=dict)
    unit: str = "video"

    def to_json(self) -> dict[str, Any]:
        """Return the state under the names of summary.json."""
        values = {name: value for name, value in asdict(self).items() if name not in ("stage", "total")}
        return {"in": self.total, **values}


def known_runs(store: Store) -> list[str]:
    """Return the ids of all runs of a workspace, sorted."""
    return [name for name in store.folders("runs/") if store.head(f"runs/{name}/run.json") is not None]


def open_plan(store: Store) -> dict[str, Any] | None:
    """Return plan.json of the run that a process began last; None if it has none, or its repair has ended."""
    begun = {run: (runs.load(store, run) or {"processes": []})["processes"] for run in known_runs(store)}
    newest = max(((entries[-1]["start"], run) for run, entries in begun.items() if entries), default=None)
    if newest is None or refusals.load_summary(store, f"runs/{newest[1]}/repair") is not None:
        return None
    return _json(store, f"runs/{newest[1]}/plan/plan.json")


def record(context: Context) -> dict[str, Any]:
    """Return run.json of the context's run. UserError that names the known runs if there is none."""
    store = context.workspace.store
    found = runs.load(store, context.run.id)
    if found is None:
        there = ", ".join(known_runs(store)) or "none"
        raise UserError(f"there is no run {context.run.id!r} in {store.url} (there: {there})")
    return found


def stage_state(context: Context, stage: str) -> StageState | None:
    """Return what a stage has done: its summary, else the outcomes in its ledger so far; None: it has not begun."""
    store, key = context.workspace.store, context.stage(stage)
    summary = refusals.load_summary(store, key)
    of_another_plan = summary and stage in _ALL_PLANNED and _planned(context) not in (None, summary.total)
    if summary and not of_another_plan:
        return StageState(stage, ENDED, summary.total, summary.done, summary.skipped, summary.refused,
                          summary.by_reason, summary.unit)  # fmt: skip
    entries = ledger.load(store, key).values()
    if not entries:
        return None
    reasons = Counter(entry.reason for entry in entries if entry.outcome == "refused")
    total = _planned(context) if stage in _OF_THE_PLAN else None
    done = len(entries) - reasons.total()
    return StageState(stage, BEGUN, total, done, None, reasons.total(), dict(sorted(reasons.items())))


def refused(context: Context, stage: str) -> list[Refused]:
    """Return the refusals of a stage, sorted by unit: of refused.jsonl once it has ended, else of its ledger."""
    store, key = context.workspace.store, context.stage(stage)
    if refusals.load_summary(store, key) is not None:
        return refusals.load(store, key)
    entries = sorted(ledger.load(store, key).items())
    return [
        Refused(context.run.id, stage, unit, entry.segment, entry.reason, entry.detail, entry.at)
        for unit, entry in entries
        if entry.outcome == "refused"
    ]


def coverage(context: Context) -> dict[str, Any] | None:
    """Return coverage.json of the run; None before `verify`, and after another plan until it is verified."""
    found, plan = document(context, "verify", "coverage.json"), document(context, "plan", "plan.json")
    sidecar = sidecars.load(context.workspace.store, f"{context.stage('verify')}/coverage.parquet")
    if plan is None or sidecar is None:
        return found
    covered = sidecar["run_provenance"]["inputs"]["affected"]["sha256"]
    return found if covered == plan["affected_sha256"] else None


def _planned(context: Context) -> int | None:
    plan = document(context, "plan", "plan.json")
    return None if plan is None else int(plan["videos"])


def document(context: Context, stage: str, name: str) -> dict[str, Any] | None:
    """Return a JSON document of a stage of the run, None before the stage has written it."""
    return _json(context.workspace.store, f"{context.stage(stage)}/{name}")


def _json(store: Store, key: str) -> dict[str, Any] | None:
    try:
        return documents.load(store, key)  # type: ignore[no-any-return]
    except FileNotFoundError:
        return None

"""The facts of a backfill of documents for its report: every number from the files of the run."""

from __future__ import annotations

from typing import Any

from resplice.io import report, runs, runstate
from resplice.io.context import Context
from resplice.io.settling import STAGE
from resplice.transforms import provenance


def is_one(context: Context) -> bool:
    """Return whether the run is a backfill of documents."""
    record = runs.load(context.workspace.store, context.run.id) or {"processes": []}
    return any(process["command"] == STAGE for process in record["processes"])


def facts(context: Context, seconds: dict[str, float]) -> dict[str, Any]:
    """Return the content of report.json; what a run that has not ended cannot tell is None."""
    state = runstate.stage_state(context, STAGE)
    return {
        "run_id": context.run.id,
        "code_version": provenance.VERSION,
        "summary": state.to_json() if state else None,
        "sources": runstate.document(context, STAGE, "counts.json"),
        "refused": state.refused if state else 0,
        "time": {"at": provenance.now(), **report.time_spent(context, seconds)},
    }


def refused(context: Context, most: int) -> list[tuple[str, str, str, str]]:
    """Return the first bad rows of the run: CSV and number of the row, reason, task and time, detail."""
    lines = runstate.refused(context, STAGE)
    lines.sort(key=lambda line: (line.unit.partition(":")[0], int(line.segment)))
    parts = ((line, *line.unit.partition(":")[::2]) for line in lines[:most])
    return [(f"{csv} {line.segment}", line.reason, task, line.detail) for line, csv, task in parts]

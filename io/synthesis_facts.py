"""The facts of a synthesis for its report: every number from the files of the run."""

from __future__ import annotations

from typing import Any

from resplice.io import report, runs, runstate
from resplice.io.context import Context
from resplice.io.speaking import STAGE
from resplice.transforms import provenance


def is_one(context: Context) -> bool:
    """Return whether the run is a synthesis."""
    record = runs.load(context.workspace.store, context.run.id) or {"processes": []}
    return any(process["command"] == STAGE for process in record["processes"])


def facts(context: Context, seconds: dict[str, float]) -> dict[str, Any]:
    """Return the content of report.json; what a run that has not ended cannot tell is None."""
    state = runstate.stage_state(context, STAGE)
    return {
        "run_id": context.run.id,
        "code_version": provenance.VERSION,
        "summary": state.to_json() if state else None,
        "books": runstate.document(context, STAGE, "books.json"),
        "saved": runstate.document(context, STAGE, "saved.json"),
        "refused": state.refused if state else 0,
        "time": {"at": provenance.now(), **report.time_spent(context, seconds)},
    }


def refused(context: Context, most: int) -> list[tuple[str, str, str, str]]:
    """Return the first chunks that are not valid: book, chunk, reason, detail."""
    parts = ((line.unit.rpartition("/"), line) for line in runstate.refused(context, STAGE)[:most])
    return [(book, chunk, line.reason, line.detail) for (book, _, chunk), line in parts]

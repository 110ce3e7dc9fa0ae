"""The facts of a backfill of documents for its report: every number from the files of the run."""

from __future__ import annotations

from typing import Any

from resplice.io import report, runstate
from resplice.io.context import Context
from resplice.io.settling import STAGE


def is_one(context: Context) -> bool:
    """Return whether the run is a backfill of documents."""
    return report.is_of(context, STAGE)


def facts(context: Context, seconds: dict[str, float]) -> dict[str, Any]:
    """Return the content of report.json."""
    return report.of_stage(context, STAGE, seconds, sources="counts.json")


def refused(context: Context, most: int) -> list[tuple[str, str, str, str]]:
    """Return the first bad rows of the run: CSV and number of the row, reason, task and time, detail."""
    lines = runstate.refused(context, STAGE)
    lines.sort(key=lambda line: (line.unit.partition(":")[0], int(line.segment)))
    parts = ((line, *line.unit.partition(":")[::2]) for line in lines[:most])
    return [(f"{csv} {line.segment}", line.reason, task, line.detail) for line, csv, task in parts]

"""The facts of a synthesis for its report: every number from the files of the run."""

from __future__ import annotations

from typing import Any

from resplice.io import report, runstate
from resplice.io.context import Context
from resplice.io.speaking import STAGE


def is_one(context: Context) -> bool:
    """Return whether the run is a synthesis."""
    return report.is_of(context, STAGE)


def facts(context: Context, seconds: dict[str, float]) -> dict[str, Any]:
    """Return the content of report.json."""
    return report.of_stage(context, STAGE, seconds, books="books.json", saved="saved.json")


def refused(context: Context, most: int) -> list[tuple[str, str, str, str]]:
    """Return the first chunks that are not valid: book, chunk, reason, detail."""
    parts = ((line.unit.rpartition("/"), line) for line in runstate.refused(context, STAGE)[:most])
    return [(book, chunk, line.reason, line.detail) for (book, _, chunk), line in parts]

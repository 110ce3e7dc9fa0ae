"""The facts of an embedding for its report: every number from the files of the run."""

from __future__ import annotations

from typing import Any

from resplice.io import report, runstate
from resplice.io.context import Context
from resplice.io.embedding import STAGE


def is_one(context: Context) -> bool:
    """Return whether the run is an embedding."""
    return report.is_of(context, STAGE)


def facts(context: Context, seconds: dict[str, float]) -> dict[str, Any]:
    """Return the content of report.json."""
    return report.of_stage(context, STAGE, seconds, embed="embed.json")


def refused(context: Context, most: int) -> list[tuple[str, str, str]]:
    """Return the first paths without a vector: path, reason, detail."""
    return [(line.unit, line.reason, line.detail) for line in runstate.refused(context, STAGE)[:most]]

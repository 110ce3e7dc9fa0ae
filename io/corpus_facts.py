"""The facts of the extraction of a corpus for its report: every number from the files of the run."""

from __future__ import annotations

from typing import Any

from resplice.io import clips, report, runstate, scoring, vmaf_logs
from resplice.io.context import Context

STAGES = (vmaf_logs.STAGE, clips.STAGE, scoring.STAGE)


def is_one(context: Context) -> bool:
    """Return whether the run extracts a corpus."""
    return any(report.is_of(context, stage) for stage in STAGES)


def _stage(context: Context) -> str:
    return next(stage for stage in STAGES if report.is_of(context, stage))


def facts(context: Context, seconds: dict[str, float]) -> dict[str, Any]:
    """Return the content of report.json."""
    stage = _stage(context)
    return {"corpus": stage, **report.of_stage(context, stage, seconds, made="made.json")}


def refused(context: Context, most: int) -> list[tuple[str, str, str]]:
    """Return the first units that could not be made: unit, reason, detail."""
    lines = runstate.refused(context, _stage(context))[:most]
    return [(line.unit, line.reason, line.detail) for line in lines]

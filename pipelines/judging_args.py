"""The flags of the commands that judge."""

from __future__ import annotations

from dataclasses import dataclass

from resplice.pipelines.flags import NamedArgs, RunArgs, flag


@dataclass(frozen=True, kw_only=True)
class Validate(RunArgs):
    """Validate the planned videos segment by segment."""

    export_work: str | None = flag("Write the planned videos as work lists into this folder, and validate nothing.")
    parts: int | None = flag("Number of work lists of --export-work; default: 1.", minimum=1)
    from_: str | None = flag("Take the shards that others wrote to this folder or s3:// URL.", name="from")
    rejudge: bool = flag("Decide again from the stored measures, by the thresholds in force; no audio is read.", False)
    sweep: str | None = flag(
        "Print how many segments each value of a threshold would fail: THRESHOLD=FROM:TO:STEP; write nothing."
    )


@dataclass(frozen=True, kw_only=True)
class Calibrate(NamedArgs):
    """Compare the results of a run with labels: precision and recall of each reason, and better thresholds."""

    labels: str = flag("CSV of the labels: video_id, stem, label (good or bad), why.", "", positional=True)
    precision: float = flag("Precision that the suggested thresholds reach; default: 0.9.", 0.9)
    workspace: str | None = flag("Folder of the run's files; default: corpus.workspace.", key="corpus.workspace")
    dry_run: bool = flag("Decide and report, but write to no store and no database.", False)

"""The baselines of the workspace that came before: what they read of tars need not be read again."""

from __future__ import annotations

from dataclasses import dataclass

from resplice.io import documents, runs, runstate
from resplice.io.context import Context
from resplice.transforms.ranges import overlapping


@dataclass(frozen=True)
class Former:
    """One earlier baseline: the prefix of its index, and its ranges."""

    prefix: str
    bounds: tuple[str, ...]

    def keys(self, kind: str, after: str | None, until: str | None) -> tuple[str, ...]:
        """Return the objects that tell of the raw or transcribed tars of the videos in (after, until]."""
        return tuple(f"{self.prefix}/{index:05d}-{kind}.parquet" for index in overlapping(self.bounds, after, until))


def earlier(context: Context) -> list[Former]:
    """Return the baseline of another run that was finished last, and what there is of this run's own."""
    store = context.workspace.store
    ended = [
        (record["processes"][-1]["start"], run_id)
        for run_id in runstate.known_runs(store)
        if run_id != context.run.id and store.head(f"runs/{run_id}/baseline/baseline.json")
        if (record := runs.load(store, run_id)) and record["processes"]
    ]
    found = [f"runs/{max(ended)[1]}/baseline"] if ended else []
    found.append(context.stage("baseline"))
    return [
        Former(f"{stage}/index", tuple(documents.load(store, f"{stage}/world.json")["bounds"]))
        for stage in found
        if store.head(f"{stage}/world.json")
    ]

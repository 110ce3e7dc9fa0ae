"""The demo corpus for tests: written once a session, recovered in workspaces of its own."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from resplice.pipelines.__main__ import main


@dataclass(frozen=True)
class Corpus:
    """One demo corpus and one workspace beside it."""

    folder: Path
    workspace: Path

    def __call__(self, command: str, *options: str, run_id: str | None = "r") -> int:
        """Run a resplice command in this process; return its exit code."""
        run = [] if run_id is None else [f"--run-id={run_id}"]
        config = [f"--config={self.folder / 'resplice.toml'}", f"--set=corpus.workspace={self.workspace}"]
        return main([*command.split(), *config, *run, "--quiet", *options])

    @property
    def truth(self) -> dict[str, Any]:
        return json.loads((self.folder / "truth.json").read_text("utf-8"))  # type: ignore[no-any-return]

    def path(self, name: str, run_id: str = "r") -> Path:
        return self.workspace / "runs" / run_id / name

    def json(self, name: str, run_id: str = "r") -> Any:
        return json.loads(self.path(name, run_id).read_text("utf-8"))

    def lines(self, name: str, run_id: str = "r") -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.path(name, run_id).read_text("utf-8").splitlines()]

    def table(self, name: str, run_id: str = "r") -> list[dict[str, Any]]:
        return pq.read_table(self.path(name, run_id)).to_pylist()  # type: ignore[no-any-return]

    def results(self, run_id: str = "r") -> list[dict[str, Any]]:
        files = sorted(self.path("validate/shards", run_id).glob("*.parquet"))
        return [row for file in files for row in pq.read_table(file).to_pylist()]

    def coverage(self, run_id: str = "r") -> dict[tuple[str, str], dict[str, Any]]:
        return {(row["video_id"], row["segment_file"]): row for row in self.table("verify/coverage.parquet", run_id)}

    def plan(self, run_id: str = "r") -> dict[str, list[str]]:
        return {row["video_id"]: row["reasons"] for row in self.table("plan/affected.parquet", run_id)}

    def snapshot(self, number: int) -> dict[str, Any]:
        return json.loads((self.workspace / f"snapshots/{number:08d}.json").read_text("utf-8"))  # type: ignore[no-any-return]

"""Small hand-made backfills for tests: CSVs of a few rows, their responses, the command, and what it left."""

from __future__ import annotations

import csv
import json
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from historical import CSVS, DRAFT, ESSAY, EVALUATION, LINK

from resplice.pipelines.__main__ import main

KINDS = {DRAFT: "draft", LINK: "link", ESSAY: "essay", EVALUATION: "evaluation"}
Values = dict[str, str]


def draft(task: str, time: str = "2025-01-01T00:00:00Z", combo: str = "c", model: str = "m", **more: str) -> Values:
    """Return a row of drafts; its response is `{task}.txt` unless it is given."""
    given = {"draft_task_id": task, "combo_id": combo, "draft_template_id": "t", "generation_model": model}
    given |= {"generation_status": "success", "generation_timestamp": time, "response_file": f"{task}.txt"}
    return given | more


def link(task: str, time: str = "2025-01-01T00:00:00Z", combo: str = "c", model: str = "m", **more: str) -> Values:
    """Return a row of links."""
    made = draft(task, time, combo, model)
    return {{"draft_task_id": "link_task_id", "draft_template_id": "link_template_id"}.get(n, n): v
            for n, v in made.items()} | more  # fmt: skip


def essay(task: str, time: str = "2025-01-02T00:00:00Z", combo: str = "c", model: str = "m", **more: str) -> Values:
    """Return a row of essays."""
    made = draft(task, time, combo, model)
    return {{"draft_task_id": "essay_task_id", "draft_template_id": "essay_template_id"}.get(n, n): v
            for n, v in made.items()} | more  # fmt: skip


def evaluation(task: str, essay: str = "", generation: str = "", time: str = "2025-01-03", **more: str) -> Values:
    """Return a row of evaluations."""
    return {"evaluation_task_id": task, "essay_task_id": essay, "generation_task_id": generation, "combo_id": "",
            "evaluation_template": "t", "evaluation_model": "judge", "evaluation_status": "success",
            "evaluation_timestamp": time, "eval_response_file": f"{task}.txt", **more}  # fmt: skip


@dataclass
class Folder:
    """A folder with `cross`, `gen` and what a backfill writes."""

    root: Path

    def write(self, **tables: list[Values]) -> None:
        """Write CSVs by kind, and the response of each row that has none yet: its name, so that all differ."""
        (self.root / "cross").mkdir(exist_ok=True)
        (self.root / "gen").mkdir(exist_ok=True)
        for name in CSVS:
            if rows := tables.get(KINDS[name]):
                with (self.root / "cross" / name).open("w", newline="", encoding="utf-8") as file:
                    writer = csv.DictWriter(file, list(rows[0]))
                    writer.writeheader()
                    writer.writerows(rows)
                for row in rows:
                    file_ = row.get("response_file", row.get("eval_response_file", ""))
                    path = self.root / "gen" / file_
                    if file_.endswith(".txt") and "/" not in file_ and not path.exists():
                        path.write_text(f"response {file_}")

    def response(self, name: str, data: bytes) -> None:
        """Write a response."""
        path = self.root / "gen" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def run(self, *more: str, run: str = "r", db: str = "", command: str = "documents") -> int:
        """Run the backfill, or another command with the same places, and return its exit code."""
        at = self.root
        return main([command, f"--cross-root={at / 'cross'}", f"--gen-root={at / 'gen'}", f"--docs-root={self.docs}",
                     f"--db={db or self.db}", f"--bad-list={at / 'bad.csv'}", f"--workspace={at / 'work'}",
                     f"--run-id={run}", "--quiet", *more])  # fmt: skip

    @property
    def docs(self) -> Path:
        return self.root / "docs"

    @property
    def db(self) -> str:
        return f"sqlite:///{self.root / 'db' / 'index.sqlite'}"

    def sql(self, statement: str, *values: str | None) -> list[tuple[Any, ...]]:
        """Execute a statement on the index."""
        with sqlite3.connect(self.root / "db" / "index.sqlite") as connection:
            found = connection.execute(statement, values).fetchall()
        connection.close()
        return found

    def rows(self, run: str = "r") -> dict[str, dict[str, Any]]:
        """Return the rows of the index of one run by task id."""
        path = self.root / "db" / "index.sqlite"
        if not path.exists():
            return {}
        with sqlite3.connect(path) as connection:
            connection.row_factory = sqlite3.Row
            found = connection.execute("SELECT * FROM documents WHERE run_id = ?", (run,)).fetchall()
        connection.close()
        return {row["task_id"]: dict(row) for row in found}

    def bad(self) -> list[dict[str, str]]:
        """Return the bad list."""
        with (self.root / "bad.csv").open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def reasons(self) -> dict[str, str]:
        """Return the reason of each bad row by its task id."""
        return {line["task_id"]: line["reason"] for line in self.bad()}

    def summary(self, run: str = "r") -> dict[str, Any]:
        """Return the summary of a run."""
        found: dict[str, Any] = json.loads((self.root / "work" / "runs" / run / "documents/summary.json").read_text())
        return found

    def raw(self, task: str, run: str = "r") -> bytes:
        """Return the response as the folder of a document has it."""
        return (self.docs / self.rows(run)[task]["doc_dir"] / "raw.txt").read_bytes()

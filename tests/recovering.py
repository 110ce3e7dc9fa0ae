"""Whole recoveries of a demo corpus, as processes that can be killed, and what must be the same after each of them.

The corpus is never copied (its versions are part of the baseline): each run gets a fresh workspace instead.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resplice.pipelines.__main__ import main

STAGES = ("baseline", "plan", "repair", "validate", "merge", "verify")
RUN = "R"
TEMPORARY = ".resplice-tmp-"
SIDECAR = ".manifest.json"
OWN_RECORDS = ("run.json", "replacements.jsonl", "adopted.jsonl", "report.html", "report.json")
"""What a process says of itself: the second and third tell what the merge still had to drop and to adopt, the report
how long it took."""
WAVE = ("--limit", "6")
"""A small wave: with it a recovery is incomplete (exit 3), but takes half the time."""

DRIVER = """
import os, signal, sys
from resplice.io import sidecars
from resplice.io.local import LocalStore
from resplice.pipelines.__main__ import main

kind, value, *arguments = sys.argv[1:]
sys.argv[1:] = arguments  # so that the process is recorded as the one it stands for
seen = 0

def die():
    os.killpg(os.getpid(), signal.SIGKILL)

def counted(name):
    real = getattr(LocalStore, name)
    def change(self, *args, **more):
        global seen
        seen += 1
        if kind == "before" and seen == int(value):
            die()
        result = real(self, *args, **more)
        if kind == "after" and seen == int(value):
            die()
        return result
    setattr(LocalStore, name, change)

for name in ("create", "replace", "copy", "delete"):
    counted(name)
write = sidecars.write

def watched(store, artifact, content):
    if kind == "sidecar" and artifact.startswith(value):
        die()
    write(store, artifact, content)

sidecars.write = watched
code = main(arguments)
if kind == "count":
    print(f"changes {seen}", file=sys.stderr)
sys.exit(code)
"""


@dataclass(frozen=True)
class Corpus:
    """A demo corpus: its folder."""

    root: Path

    def arguments(self, workspace: Path, *more: str, command: str = "recover", run: str = RUN) -> list[str]:
        """Return the arguments of one command in a workspace."""
        places = ["--config", str(self.root / "resplice.toml"), "--set", f"corpus.workspace={workspace}"]
        yes = ["--yes"] if command == "recover" else []
        return [command, *places, "--run-id", run, "--quiet", *yes, *more]

    def recover(self, workspace: Path, *more: str, command: str = "recover", run: str = RUN) -> int:
        """Run a command in this process and return its exit code."""
        return main(self.arguments(workspace, *more, command=command, run=run))

    def start(self, workspace: Path, *more: str, die: Sequence[str] = ()) -> subprocess.Popen[str]:
        """Start a recovery as a process group of its own; `die` tells the driver when it is to be killed."""
        program = ["-c", DRIVER, *die] if die else ["-m", "resplice.pipelines"]
        return subprocess.Popen(
            [sys.executable, *program, *self.arguments(workspace, *more)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def finish(self, workspace: Path, *more: str) -> int:
        """Run the recovery as a process to its end and return its exit code."""
        process = self.start(workspace, *more)
        said, _ = process.communicate(timeout=120)
        print(said)  # of a test that fails it is shown
        return process.returncode


def demo(folder: Path) -> Corpus:
    """Write the smallest demo corpus."""
    assert main(["demo", str(folder), "--size", "1", "--quiet"]) == 0
    return Corpus(folder)


def kill(process: subprocess.Popen[str]) -> bool:
    """Kill a whole process group; return whether it was alive."""
    alive = process.poll() is None
    if alive:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    return alive


def stage_of(workspace: Path, run: str = RUN) -> str:
    """Return the stage that a run is in, by the summaries that it has written; "" behind the last one."""
    return next((stage for stage in STAGES if not (workspace / "runs" / run / stage / "summary.json").exists()), "")


def wait_for(workspace: Path, stage: str, process: subprocess.Popen[str]) -> None:
    """Wait until a run is in a stage, or behind it, or has ended."""
    order = [*STAGES, ""]
    while process.poll() is None and order.index(stage_of(workspace)) < order.index(stage):
        time.sleep(0.002)


def outcome(workspace: Path, run: str = RUN) -> dict[str, Any]:
    """Return what the contract promises to be the same: the content of every file of the workspace by its name, but for
    the times in run.json, sidecars, ledgers and `at`, and merge's notes, which tell what was still to be dropped.
    """
    found: dict[str, Any] = {}
    for path in sorted(p for p in workspace.rglob("*") if p.is_file() and not p.name.startswith(TEMPORARY)):
        key = path.relative_to(workspace).as_posix()
        if "/live/" in key:  # what a killed process spilled; nothing reads it again
            continue
        if key.endswith(SIDECAR) or "/ledger/" in key or path.name in OWN_RECORDS:
            found[key] = "is there"
        elif path.name == "refused.jsonl":
            found[key] = [{**json.loads(line), "at": ""} for line in path.read_text().splitlines()]
        else:
            found[key] = digest(path)
    return found


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def lies(workspace: Path) -> list[str]:
    """Return the outputs whose sidecar does not tell their digest; an artifact without its sidecar is one, too."""
    found = []
    for path in workspace.rglob("*" + SIDECAR):
        for name, output in json.loads(path.read_text())["run_provenance"]["outputs"].items():
            if digest(Path(output["path"])) != output["sha256"]:
                found.append(f"{path}: {name}")
    made = [*workspace.glob("runs/*/repair/transcribed/*.tar"), *workspace.glob("runs/*/validate/shards/*.parquet"),
            *workspace.glob("snapshots/????????.json")]  # fmt: skip
    return found + [str(path) for path in made if not Path(f"{path}{SIDECAR}").exists()]


def temporaries(workspace: Path) -> list[Path]:
    """Return the temporary files in a workspace."""
    return sorted(workspace.rglob(TEMPORARY + "*"))


def tree(root: Path) -> dict[str, tuple[int, int, str]]:
    """Return size, mtime_ns and digest of every file below a folder, and the folders."""
    return {
        path.relative_to(root).as_posix(): (path.stat().st_size, path.stat().st_mtime_ns, digest(path))
        if path.is_file()
        else (0, 0, "folder")
        for path in sorted(root.rglob("*"))
    }


def refused(workspace: Path, stage: str, run: str = RUN) -> dict[str, str]:
    """Return the reason of each refused unit of a stage."""
    lines = (workspace / "runs" / run / stage / "refused.jsonl").read_text().splitlines()
    return {line["unit"]: line["reason"] for line in map(json.loads, lines)}


def summary(workspace: Path, stage: str, run: str = RUN) -> dict[str, Any]:
    """Return the summary of a stage."""
    found: dict[str, Any] = json.loads((workspace / "runs" / run / stage / "summary.json").read_text())
    return found


def ledger(workspace: Path, stage: str, run: str = RUN) -> dict[str, dict[str, Any]]:
    """Return the entry of each unit in the ledger of a stage."""
    files = (workspace / "runs" / run / stage / "ledger").glob("*.jsonl")
    entries = [json.loads(line) for path in files for line in path.read_text().splitlines()]
    return {entry["unit"]: entry for entry in entries}

"""A backfill that is killed at any point and started again ends as one that never was; so do two at once."""

from __future__ import annotations

import json
import random
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import historical
import pytest
from historical import World
from recovering import kill

SEED = 5
KILLS = 50
DRIVER = """
import os, signal, sys
from resplice.io import doctree
from resplice.io.index import Index
from resplice.io.local import LocalStore
from resplice.pipelines.__main__ import main

kind, value, *arguments = sys.argv[1:]
seen = 0

def watched(owner, name):
    real = getattr(owner, name)
    def change(*args, **more):
        global seen
        seen += 1
        number = seen
        if kind == "before" and number == int(value):
            os.killpg(os.getpid(), signal.SIGKILL)
        result = real(*args, **more)
        if kind == "after" and number == int(value):
            os.killpg(os.getpid(), signal.SIGKILL)
        return result
    setattr(owner, name, change)

for name in ("create", "replace", "delete"):
    watched(LocalStore, name)
for name in ("_write", "_moved", "settle"):
    watched(doctree, name)
for name in ("create", "_insert"):
    watched(Index, name)
code = main(arguments)
if kind == "count":
    print(f"changes {seen}", file=sys.stderr)
sys.exit(code)
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return historical.write(tmp_path_factory.mktemp("crashes") / "w", 60, seed=3)


@pytest.fixture(scope="module")
def whole(world: World, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], int]:
    """What a backfill that nobody disturbed leaves, and how many changes it made."""
    out = tmp_path_factory.mktemp("whole")
    said = ended(start(world, out, "count", "0"), 0)
    return outcome(out), int(re.findall(r"changes (\d+)", said)[0])


def start(world: World, out: Path, *die: str) -> subprocess.Popen[str]:
    program = ["-c", DRIVER, *die] if die else ["-m", "resplice.pipelines"]
    return subprocess.Popen([sys.executable, *program, *world.arguments(out)], stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True, start_new_session=True)  # fmt: skip


def ended(process: subprocess.Popen[str], code: int) -> str:
    said, _ = process.communicate(timeout=300)
    assert process.returncode == code, said
    return said


def outcome(out: Path) -> dict[str, Any]:
    """Return the tree of documents, the index, the bad list, the summary, and the refusals without their moment."""
    files = {p.relative_to(out).as_posix(): p.read_bytes() for p in (out / "docs").rglob("*") if p.is_file()}
    folders = sorted(p.relative_to(out).as_posix() for p in (out / "docs").rglob("*") if p.is_dir())
    stage = out / "work/runs/R/documents"
    lines = (stage / "refused.jsonl").read_text().splitlines()
    return {
        **files,
        "folders": folders,
        "index": rows(out),
        "bad": (out / "bad.csv").read_bytes(),
        "summary": (stage / "summary.json").read_bytes(),
        "refused": [{**json.loads(line), "at": ""} for line in lines],
    }


def rows(out: Path) -> list[tuple[Any, ...]]:
    path = out / "db/index.sqlite"
    if not path.exists():
        return []
    with closing(sqlite3.connect(path)) as connection:
        there = connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'documents'").fetchone()[0]
        return connection.execute("SELECT * FROM documents ORDER BY doc_id").fetchall() if there else []


def orphans(out: Path) -> Sequence[Any]:
    """Return the rows of the index whose folder does not hold a response."""
    with (
        closing(sqlite3.connect(out / "db/index.sqlite"))
        if (out / "db/index.sqlite").exists()
        else closing(sqlite3.connect(":memory:")) as connection
    ):
        names = [column[1] for column in connection.execute("PRAGMA table_info(documents)")]
    place = names.index("doc_dir") if names else 0
    return [row for row in rows(out) if not (out / "docs" / row[place] / "raw.txt").is_file()]


def killed_and_run_again(world: World, out: Path, kind: str, number: int) -> None:
    ended(start(world, out, kind, str(number)), -signal.SIGKILL)
    assert orphans(out) == []
    ended(start(world, out), 0)


@pytest.mark.parametrize("share", [0.35, 0.6, 0.9])
def test_killed_beside_a_change_and_run_again_it_ends_the_same(
    world: World, whole: tuple[dict[str, Any], int], tmp_path: Path, share: float
) -> None:
    killed_and_run_again(world, tmp_path, "before", int(share * whole[1]))
    assert outcome(tmp_path) == whole[0]


@pytest.mark.slow
@pytest.mark.parametrize("number", range(KILLS))
def test_killed_at_any_point_and_run_again_it_ends_the_same(
    world: World, whole: tuple[dict[str, Any], int], tmp_path: Path, number: int
) -> None:
    lot = random.Random(f"{SEED}-{number}")
    kind, change = lot.choice(("before", "after")), lot.randrange(1, whole[1] + 1)
    print(f"seed {SEED}-{number}: killed {kind} change {change} of {whole[1]}")
    killed_and_run_again(world, tmp_path, kind, change)
    assert outcome(tmp_path) == whole[0]


@pytest.mark.slow
@pytest.mark.parametrize("wait_s", [1.5, 2.0, 2.5, 3.0])
def test_killed_at_any_moment_and_run_again_it_ends_the_same(
    world: World, whole: tuple[dict[str, Any], int], tmp_path: Path, wait_s: float
) -> None:
    process = start(world, tmp_path)
    time.sleep(wait_s)
    kill(process)
    assert orphans(tmp_path) == []
    ended(start(world, tmp_path), 0)
    assert outcome(tmp_path) == whole[0]


@pytest.mark.parametrize("lag_s", [0.0, pytest.param(0.5, marks=pytest.mark.slow)])
def test_two_processes_of_one_run_do_no_harm(
    world: World, whole: tuple[dict[str, Any], int], tmp_path: Path, lag_s: float
) -> None:
    first = start(world, tmp_path)
    time.sleep(lag_s)
    second = start(world, tmp_path)
    for process in (first, second):
        ended(process, 0)
    assert outcome(tmp_path) == whole[0]

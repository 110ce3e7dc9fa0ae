"""`synthesize` killed at any moment, and two of them at once: nothing is lost, nothing valid is made again."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from processes import Group
from speaking import Shelf, ids, program

from resplice.io.local import TEMPORARY

FALLBACK = ("--fallback", "xtts")


def start(shelf: Shelf, *more: str, pace: str = "", **named: str) -> Group:
    log = (shelf.folder / "log").open("ab")
    return Group(program(shelf, *more, **named), cwd=shelf.folder, env={**os.environ, "PACE": pace},
                 stdout=log, stderr=log)  # fmt: skip


def said(shelf: Shelf) -> str:
    return (shelf.folder / "log").read_text()


def valid(shelf: Shelf) -> dict[str, str]:
    """Return the valid chunks of the state at this moment, which is whole, with the digests of their audio."""
    state = shelf.state()
    found = {}
    for row in state.get("phase4", {}).get("files", {}).get("book", {}).get("chunks", []):
        if row["status"] == "success":
            audio = (shelf.folder / row["audio_path"]).read_bytes()
            assert hashlib.sha256(audio).hexdigest() == row["audio_sha256"]
            found[row["chunk_id"]] = row["audio_sha256"]
    return found


def entry(shelf: Shelf) -> dict[str, Any]:
    """Return the entry of the book without its times."""
    return {key: value for key, value in shelf.entry().items() if key != "timestamps"}


def killed_and_started_again(tmp_path: Path, chunks: int, kills: int, wait: Callable[[Shelf, float], None]) -> None:
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    moments = random.Random(seed)
    shelf, whole = (Shelf.make(tmp_path / name, {"book": chunks}) for name in ("killed", "whole"))
    for each in (shelf, whole):
        each.spoil("kokoro", range(3, chunks, 7), "crash")
    before: dict[str, str] = {}
    for _ in range(kills):
        group = start(shelf, *FALLBACK)
        wait(shelf, moments.random())
        group.leader.kill()
        group.end()
        after = valid(shelf)
        assert before.items() <= after.items()
        assert not set(before) & set(shelf.called())
        before = after
    for each in (shelf, whole):
        group = start(each, *FALLBACK)
        assert group.leader.wait(600) == 0, said(each)
        group.end()
    assert not set(before) & set(shelf.called())
    assert entry(shelf) == entry(whole) and shelf.digests() == whole.digests()
    assert len(valid(shelf)) == chunks and shelf.summary() == whole.summary()
    left = (path for path in (shelf.folder / ".pipeline/journal").rglob("*") if path.is_file())
    assert not [path for path in left if not path.name.startswith(TEMPORARY)]  # a killed write may leave one of those


def some_are_made(shelf: Shelf, moment: float) -> None:
    """Wait until a few more chunks were asked for."""
    deadline = time.monotonic() + 60
    wanted = 1 + int(moment * 4)
    log = shelf.folder / "calls"
    while (not log.exists() or len(log.read_text().splitlines()) < wanted) and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(moment / 10)


def test_killed_three_times_nothing_is_lost_and_the_end_is_that_of_a_run_without_kills(tmp_path: Path) -> None:
    killed_and_started_again(tmp_path, 16, 3, some_are_made)


@pytest.mark.slow
def test_killed_at_50_moments_nothing_is_lost_and_nothing_valid_is_made_again(tmp_path: Path) -> None:
    turns = iter(range(10**6))

    def any_moment(shelf: Shelf, moment: float) -> None:
        if next(turns) % 5 == 0:  # while it starts, and takes over what is in the journal
            time.sleep(3 * moment)
        else:
            some_are_made(shelf, moment)

    killed_and_started_again(tmp_path, 240, 50, any_moment)


def test_two_runs_at_once_make_every_chunk_once(tmp_path: Path) -> None:
    shelf = Shelf.make(tmp_path / "shelf", {"book": 8})
    groups = [start(shelf, run_id=name) for name in ("one", "two")]
    assert [group.leader.wait(120) for group in groups] == [0, 0], said(shelf)
    for group in groups:
        group.end()
    assert shelf.called() == ids(range(1, 9))
    assert len(valid(shelf)) == 8
    assert {shelf.summary(name)["done"] for name in ("one", "two")} == {0, 8}


def test_a_second_run_on_a_locked_file_waits_and_then_ends_with_75(tmp_path: Path) -> None:
    shelf = Shelf.make(tmp_path / "shelf", {"book": 1})
    shelf.spoil("kokoro", (1,), "hang")
    first = start(shelf, run_id="one")
    deadline = time.monotonic() + 60
    while not (shelf.folder / "hanging").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    state = shelf.state()
    command = program(shelf, "--set", "synthesis.lock_timeout_s=0.5", run_id="two")
    second = subprocess.run(command, cwd=shelf.folder, capture_output=True, text=True, timeout=120)
    assert second.returncode == 75
    assert "pipeline.json is locked by another process for more than 0.5 s" in second.stderr
    assert shelf.state() == state
    first.leader.kill()
    first.end()
    shelf.mend()
    third = subprocess.run(program(shelf, run_id="two"), cwd=shelf.folder, capture_output=True, text=True, timeout=120)
    assert third.returncode == 0, third.stderr  # a lock dies with its process

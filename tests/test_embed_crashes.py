"""`embed` killed at any moment, and run again: the same shards, no path both completed and absent."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from embedding import Music
from processes import PATIENCE, Group

from resplice.io.library import LibraryFile

EVERY = ("--resume", "--checkpoint-every", "3", "--library", "meta.json")
COMMAND = [sys.executable, "-m", "resplice.pipelines"]


def holds(music: Music) -> None:
    """Assert what holds at every moment: what the checkpoint calls completed has its vector and its entry."""
    if not (music.folder / "data/embed_checkpoint.json").exists():
        return
    completed = music.checkpoint["completed_paths"]  # before the rest: that only grows
    present = {f"{music.folder}/music/{key}" for key in music.vectors()} if music.shards() else set()
    library = LibraryFile.at(str(music.folder / "meta.json"))
    tracks = library.read().tracks
    assert set(completed) <= present
    assert all(library.has(tracks[path]) for path in completed)


def killed(music: Music, early: bool, after_s: float) -> bool:
    """Start the command and kill it some seconds after it began to embed, or `early`, after its start; return whether
    it was still at work.
    """
    checkpoint = music.folder / "data/embed_checkpoint.json"
    before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
    with (music.folder / "log").open("ab") as log:
        group = Group([*COMMAND, *music.arguments(*EVERY)], cwd=music.folder, stdout=log, stderr=log)
    until = time.monotonic() + (after_s if early else PATIENCE)
    while group.leader.poll() is None and time.monotonic() < until:
        if not early and checkpoint.exists() and checkpoint.stat().st_mtime_ns != before:
            until, early = time.monotonic() + after_s, True
        time.sleep(0.005)
    running = group.leader.poll() is None
    group.end(signal.SIGKILL)
    return running


def run(music: Music) -> int:
    return subprocess.run([*COMMAND, *music.arguments(*EVERY)], cwd=music.folder, timeout=PATIENCE,
                          stdout=subprocess.DEVNULL).returncode  # fmt: skip


def forget(music: Music) -> None:
    """Remove all that was written."""
    for name in ("data", "vectors", "resplice-work"):
        shutil.rmtree(music.folder / name, ignore_errors=True)
    (music.folder / "meta.json").unlink(missing_ok=True)


def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, kills: int) -> None:
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    moments = random.Random(seed)
    whole = Music.make(tmp_path / "whole", count, 8.0)
    whole.path("bad.flac").write_bytes(b"no audio")
    assert run(whole) == 0
    music = Music(tmp_path / "killed")
    music.folder.mkdir()
    shutil.copytree(whole.folder / "music", music.folder / "music")
    at_work = 0
    while at_work < kills:
        if killed(music, moments.random() < 0.2, moments.random()):
            at_work += 1
            holds(music)
        else:  # it was through before: from the beginning
            forget(music)
    assert run(music) in (0, 3)  # 3: only the bad file was left
    holds(music)
    assert music.vectors() == whole.vectors() and len(whole.vectors()) == count
    monkeypatch.chdir(music.folder)
    done = music.checkpoint
    assert done["status"] == "completed" and len(done["completed_paths"]) == count and len(done["failed_paths"]) == 1
    rows = [len(pq.read_table(music.folder / "data/embeddings" / key)) for key in music.shards()]
    assert sum(rows) == count  # none was made twice


def test_killed_and_run_again_it_ends_with_the_same_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check(tmp_path, monkeypatch, 12, 2)


@pytest.mark.slow
def test_killed_at_20_moments_no_path_is_completed_and_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check(tmp_path, monkeypatch, 60, 20)

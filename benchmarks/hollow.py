"""A large corpus without audio: real rows, results and tar headers, but every member of a tar is empty.

Merge, plan and verify read headers, rows and results, never audio: what they take for a corpus of this size is real.
A video has `SEGMENTS` unsplit segments, all rows, both tars and historical results of which are right; where the videos
table says `validation_failed` it is planned for that reason alone, so `repair` has nothing to do for it.
"""

from __future__ import annotations

import io
import json
import os
import sqlite3
import statistics
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

SEGMENTS = 20
"""Rows of a video."""
FAILED = "validation_failed"
FOLDERS = ("raw", "transcribed", "validation")
EVERY_S = 0.2


def video(number: int) -> str:
    """Return the id of a video; ids sort as their numbers."""
    return f"v{number:09d}"


@cache
def template(transcribed: bool) -> np.ndarray:
    """Return the headers of a tar of video 0: uint8, shape (members, 512)."""
    names = [f"{video(0)}/segments/{n:04d}.flac" for n in range(SEGMENTS)]
    names += [f"{video(0)}/transcriptions/{n:04d}.json" for n in range(SEGMENTS)] if transcribed else []
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name in names:
            tar.addfile(tarfile.TarInfo(name))
    return np.frombuffer(file.getvalue(), np.uint8)[: len(names) * 512].reshape(-1, 512)


def tar(number: int, transcribed: bool) -> bytes:
    """Return the tar of a video: the template's headers with its id and their new checksums."""
    heads = template(transcribed).copy()
    name = video(number).encode()
    heads[:, : len(name)] = np.frombuffer(name, np.uint8)
    heads[:, 148:156] = ord(" ")
    sums = heads.sum(axis=1, dtype=np.int64)
    for place in range(6):
        heads[:, 153 - place] = ord("0") + (sums >> 3 * place) % 8
    heads[:, 154] = 0
    return heads.tobytes() + bytes(1024)


def write_tars(root: Path, numbers: Iterable[int]) -> None:
    """Write both tars of some videos."""
    for number in numbers:
        (root / "raw" / f"{video(number)}.tar").write_bytes(tar(number, False))
        (root / "transcribed" / f"{video(number)}_transcribed.tar").write_bytes(tar(number, True))


def results(numbers: Sequence[int], seed: int, stems: bool = False) -> pa.Table:
    """Return results of some videos, ten columns: named as rows of the database, or by their stems."""
    rng, rows = np.random.default_rng(seed), len(numbers) * SEGMENTS
    names = [f"{n:04d}" if stems else f"{n:04d}.flac" for n in range(SEGMENTS)]
    return pa.table(
        {
            "video_id": pa.array([video(n) for n in numbers for _ in range(SEGMENTS)], pa.string()),
            "segment_file": pa.array(names * len(numbers), pa.string()),
            **verdicts(rows, rng),
        }
    )  # fmt: skip


def verdicts(rows: int, rng: np.random.Generator) -> dict[str, Any]:
    """Return the columns of some results, but for what names them."""
    chars = rng.integers(2, 200, rows)
    seconds = np.round(rng.uniform(0.3, 15.0, rows), 3)
    return {
        "status": pa.array(["passed", "failed"]).take(pa.array((rng.random(rows) < 0.1) * 1)),
        "engine": pa.array(["signal"] * rows),
        "duration_s": seconds,
        "peak_dbfs": np.round(rng.normal(-6, 3, rows), 2),
        "rms_dbfs": np.round(rng.normal(-24, 4, rows), 2),
        "silence_ratio": np.round(rng.uniform(0, 0.5, rows), 4),
        "chars": chars,
        "chars_per_s": np.round(chars / seconds, 3),
    }


def write_results(path: Path, numbers: Sequence[int], seed: int, stems: bool = False) -> None:
    """Write a shard of results."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(results(numbers, seed, stems), path, compression="zstd")


def begin(root: Path, settings: str = "") -> None:
    """Make the folders, the configuration and an empty database."""
    for folder in FOLDERS:
        (root / folder).mkdir(parents=True)
    (root / "resplice.toml").write_text(settings)
    with sqlite3.connect(root / "corpus.sqlite") as database:
        database.execute(
            "create table transcription_results (id integer primary key, video_id text, segment_file text,"
            " transcription text, language text, duration_s real, created_at text)"
        )
        database.execute(
            "create table videos (video_id text primary key, status text, validation_status text, updated_at text)"
        )
        database.execute("create index by_video on transcription_results (video_id)")


def add_videos(root: Path, numbers: Iterable[int], status: str) -> None:
    """Add videos and their rows to the database."""
    names = [f"{n:04d}.flac" for n in range(SEGMENTS)]
    with sqlite3.connect(root / "corpus.sqlite") as database:
        for number in numbers:
            add_video(database, video(number), names, status)


def add_video(database: sqlite3.Connection, name: str, files: Iterable[str], status: str | None) -> None:
    """Add one video and its rows to the database."""
    text, at = "Some forty characters of transcribed text", "2025-06-01 12:00:00"
    rows = [(name, file, text, "en", None, at) for file in files]
    database.executemany("insert into transcription_results values (null, ?, ?, ?, ?, ?, ?)", rows)
    database.execute("insert into videos values (?, 'done', ?, ?)", (name, status, at))


def command(root: Path, name: str, workspace: Path, run_id: str, *more: str) -> list[str]:
    """Return the arguments of a resplice command."""
    places = ["--config", str(root / "resplice.toml"), "--set", f"corpus.workspace={workspace}"]
    return [name, *places, "--run-id", run_id, "--quiet", *more]


def timed(commands: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Run resplice commands in one process; return the `seconds` of each after the imports, and of all of them the
    `peak` in bytes, the seconds of `cpu`, those of the `driver`, and the bytes `read` and `written` by system calls.
    """
    return process([sys.executable, str(Path(__file__).with_name("timed.py")), json.dumps(commands)])


def process(arguments: Sequence[str]) -> dict[str, Any]:
    """Run a process that ends with a line of JSON; return that with the `peak` of its whole tree in bytes."""
    running = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
    peak, ended = [0], threading.Event()
    thread = threading.Thread(target=_watch, args=(psutil.Process(running.pid), peak, ended))
    thread.start()
    said, _ = running.communicate()
    ended.set()
    thread.join()
    if running.returncode:
        raise SystemExit(f"{' '.join(arguments)[:200]} ended with {running.returncode}:\n{said}")
    record: dict[str, Any] = json.loads(said.splitlines()[-1])
    return {**record, "peak": max(peak[0], record.get("peak", 0))}


def _watch(main: psutil.Process, peak: list[int], ended: threading.Event) -> None:
    while not ended.wait(EVERY_S):
        try:
            tree = [main, *main.children(recursive=True)]
            peak[0] = max(peak[0], sum(one.memory_info().rss for one in tree))
        except psutil.NoSuchProcess:
            continue


def written(before: Path, after: Path) -> int:
    """Return the bytes of the files below `after` that are no hard links to files below `before`."""
    there = {stat.st_ino for stat in _stats(before)}
    return sum({stat.st_ino: stat.st_size for stat in _stats(after) if stat.st_ino not in there}.values())


def _stats(folder: Path) -> list[os.stat_result]:
    return [path.stat() for path in folder.rglob("*") if path.is_file()]


def median(values: Iterable[float]) -> float:
    """Return the median."""
    return statistics.median(values)


def target(text: str, met: bool) -> str:
    """Return a target as the tables show it."""
    return f"{text}: {'met' if met else 'NOT met'}"

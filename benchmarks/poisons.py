"""Segments that kill whoever judges them: what each costs, and that it costs nothing else.

    python benchmarks/poisons.py [--segments 1000] [--poisons 20]

Writes a corpus whose only task is to validate (rows and tars are right, the videos table says `validation_failed`) and
an installed engine that passes every segment, but on a poison: segmentation fault, hang, allocation of 8 GiB, exit, in
turn. `resplice validate` runs over it without and with the poisons, on one and on two workers: the real command, its
Beam pipeline and its killable workers, from after its imports to its end. The overhead of a poison is

    (seconds with - seconds without - hangs x run.timeout_s / workers) / poisons

so the time that a hang is given by the settings does not count, and starting a new worker does. Exit 1 unless every
healthy segment has its result, every poison an error with its own reason, and the overhead is below 2 s.
"""

from __future__ import annotations

import argparse
import ctypes
import io
import json
import os
import shutil
import sqlite3
import sys
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import soundfile
from hollow import begin, command, timed

VIDEO_SEGMENTS = 50
TIMEOUT_S = 1.0
LIMIT_S = 2.0
REASONS = {"segfault": "crashed", "hang": "timeout", "allocation": "out_of_memory", "exit": "crashed"}
FAILED = "validation_failed"
RUN = "R"


class Engine:
    """Passes every segment; where it is armed, does what the text of a poison says."""

    name = "poisoned"
    version = "1"

    def __init__(self, armed: bool = False) -> None:
        self._armed = armed

    def judge(self, samples: Any, rate: int, row: dict[str, Any]) -> tuple[str, list[str], dict[str, Any]]:
        """Judge one segment."""
        if self._armed:
            _do(row["transcription"])
        return "passed", [], {}


def _do(what: str) -> None:
    if what == "segfault":
        ctypes.string_at(0)
    if what == "hang":
        sum(range(10**15))  # one call into C that never lets another thread run
    if what == "allocation":
        bytearray(8 << 30)
    if what == "exit":
        os._exit(0)


@dataclass(frozen=True)
class Measured:
    """What a validation of the corpus gave: its seconds, and how many results there are of each (status, reason)."""

    seconds: float
    results: Counter[tuple[str, ...]]


def texts(segments: int, poisons: int) -> list[str]:
    """Return the text of each segment; the poisons lie evenly among them."""
    found = ["some words"] * segments
    for number, what in enumerate(islice(cycle(REASONS), poisons)):
        found[(2 * number + 1) * segments // (2 * poisons)] = what
    return found


def build(root: Path, all_texts: list[str]) -> Path:
    """Write the corpus and the engine; baseline and plan it. Return the workspace."""
    begin(root, f'[validate]\nengines = ["poisoned"]\n[run]\ntimeout_s = {TIMEOUT_S}\n')
    with sqlite3.connect(root / "corpus.sqlite") as database:
        for first in range(0, len(all_texts), VIDEO_SEGMENTS):
            _add_video(root, database, f"v{first:06d}", all_texts[first : first + VIDEO_SEGMENTS])
    _install(root / "site")
    workspace = root / "workspace"
    timed([command(root, stage, workspace, RUN) for stage in ("baseline", "plan", "repair")])
    return workspace


def _add_video(root: Path, database: sqlite3.Connection, video: str, its_texts: list[str]) -> None:
    names = [f"{number:04d}" for number in range(len(its_texts))]
    rng = np.random.default_rng(int(video[1:]))
    flacs = {f"{video}/segments/{name}.flac": _flac(rng) for name in names}
    jsons = {f"{video}/transcriptions/{name}.json": b"{}\n" for name in names}
    _write_tar(root / "raw" / f"{video}.tar", flacs)
    _write_tar(root / "transcribed" / f"{video}_transcribed.tar", {**flacs, **jsons})
    rows = [(video, f"{name}.flac", text, "en", None, None) for name, text in zip(names, its_texts, strict=True)]
    database.executemany("insert into transcription_results values (null, ?, ?, ?, ?, ?, ?)", rows)
    database.execute("insert into videos values (?, 'done', ?, null)", (video, FAILED))


def _flac(rng: np.random.Generator) -> bytes:
    """Return a second of noise: 16 kHz, mono, 16 bits."""
    file = io.BytesIO()
    soundfile.write(file, rng.integers(-3000, 3000, 16_000, np.int16), 16_000, format="FLAC")
    return file.getvalue()


def _write_tar(path: Path, files: dict[str, bytes]) -> None:
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def _install(site: Path) -> None:
    """Make this module the distribution that brings the engine, for processes with `site` on their PYTHONPATH."""
    info = site / "poisoned-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: poisoned\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[resplice.engines]\npoisoned = poisons:Engine\n")
    folders = [str(site), str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, folders))


def validate(root: Path, planned: Path, workers: int, armed: bool) -> Measured:
    """Validate the corpus in a fresh copy of the planned workspace."""
    workspace = Path(shutil.copytree(planned, root / f"{workers}-{armed}"))
    more = ["--workers", str(workers), "--set", f"validate.poisoned.armed={json.dumps(armed)}"]
    (seconds,) = timed([command(root, "validate", workspace, RUN, *more)])["seconds"]
    shards = (workspace / "runs" / RUN / "validate" / "shards").glob("*.parquet")
    rows = [row for shard in shards for row in pq.read_table(shard, columns=["status", "reasons"]).to_pylist()]
    return Measured(seconds, Counter((row["status"], *row["reasons"]) for row in rows))


def broken(all_texts: list[str], without: Measured, with_: Measured) -> Iterator[str]:
    """Yield the promises about results that were not kept."""
    reasons = Counter(("error", REASONS[text]) for text in all_texts if text in REASONS)
    healthy = len(all_texts) - reasons.total()
    for what, found, expected in (
        ("without", without.results, Counter({("passed",): len(all_texts)})),
        ("with", with_.results, Counter({("passed",): healthy}) + reasons),
    ):
        if found != expected:
            yield f"{what} poisons: {dict(found)} instead of {dict(expected)}"


def overhead_s(all_texts: list[str], without: Measured, with_: Measured, workers: int) -> float:
    """Return what a poison costs, in seconds, without the time that the settings give a hang."""
    counts = Counter(text for text in all_texts if text in REASONS)
    return (with_.seconds - without.seconds - counts["hang"] * TIMEOUT_S / workers) / counts.total()


def main() -> None:
    """Measure on one and on two workers, print the figures, end with 1 if a promise is broken."""
    parser = argparse.ArgumentParser(description="Validate a corpus with poisons in it.")
    parser.add_argument("--segments", type=int, default=1000)
    parser.add_argument("--poisons", type=int, default=20)
    given = parser.parse_args()
    all_texts = texts(given.segments, given.poisons)
    faults: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        root = Path(name) / "corpus"
        planned = build(root, all_texts)
        for workers in (1, 2):
            began = time.monotonic()
            without, with_ = (validate(root, planned, workers, armed) for armed in (False, True))
            faults += broken(all_texts, without, with_)
            each = overhead_s(all_texts, without, with_, workers)
            if each >= LIMIT_S:
                faults.append(f"{workers} workers: {each:.2f} s a poison, less than {LIMIT_S:g} are allowed")
            told = ", ".join(f"{n} {' '.join(key)}" for key, n in sorted(with_.results.items()))
            print(f"{workers} workers: {told}; {without.seconds:.1f} s without, {with_.seconds:.1f} s with poisons:"
                  f" {each:.2f} s a poison ({time.monotonic() - began:.0f} s in all)", flush=True)  # fmt: skip
    for fault in faults:
        print(fault)
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()

"""Seconds, CPU and memory of `resplice gaps` on many files: the first scan, and one after it.

    python benchmarks/gaps.py [--files 100000]

Files of a few bytes in 500 folders, nine in ten of them with an entry that names its content, and its vector. The first
scan reads every file that has an entry, a later one only asks for versions. Each scan is a new process, start included;
peak memory is the process's own. Exit 1 if the counts are wrong or the later scan takes more than 20 s.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from resplice.io.library import LibraryFile
from resplice.transforms.library import Identity
from resplice.transforms.provenance import sha256

FOLDERS = 500
BOUND_S = 20.0


def lay_out(root: Path, files: int) -> None:
    """Write the files, the library and its vectors."""
    (root / "vectors").mkdir()
    fields = {}
    for number in range(files):
        path = root / f"music/{number % FOLDERS:03d}/{number}.mp3"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"%d" % number)
        if number % 10:
            identity = Identity(sha256(path.read_bytes()), "e" * 64, "full")
            (root / identity.ref).write_bytes(b"\0" * 608)
            fields[str(path)] = {**identity.fields(608, "logmel", 120), "title": f"track {number}", "cues": [1.0, 2.0]}
    LibraryFile.at(f"{root}/meta.json").enter(fields)


def scan(root: Path) -> tuple[float, float, float]:
    """Return seconds, seconds of CPU and peak MB of one scan."""
    command = [sys.executable, "-m", "resplice.pipelines", "gaps", "--music-root", "music", "--library", "meta.json",
               "--quiet"]  # fmt: skip
    began, peak, cpu = time.monotonic(), 0, 0.0
    with subprocess.Popen(
        command, cwd=root, stdout=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": ""}
    ) as process:
        of = psutil.Process(process.pid)
        while process.poll() is None:
            try:
                peak, cpu = max(peak, of.memory_info().rss), sum(of.cpu_times()[:2])
            except psutil.Error:
                break
            time.sleep(0.05)
    assert process.returncode == 0, process.returncode
    return time.monotonic() - began, cpu, peak / 1e6


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--files", type=int, default=100_000)
    files = parser.parse_args().files
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        lay_out(root, files)
        times = []
        for name in ("first", "second", "third"):
            seconds, cpu, megabytes = scan(root)
            times.append(seconds)
            print(f"{name} scan of {files:,} files: {seconds:.1f} s, {cpu:.1f} s of CPU, {megabytes:.0f} MB")
        found = json.loads((root / "data/pending_embedding_paths.json").read_bytes())
    right = (found["ok"], found["missing_meta_total"]) == (files - -(-files // 10), -(-files // 10))
    return 0 if right and min(times[1:]) <= BOUND_S else 1


if __name__ == "__main__":
    sys.exit(main())

"""Peak memory of a recovery against the number of segments of one video; it must depend on the largest segment alone.

    python benchmarks/memory.py [--segments 50 5000] [--tolerance 0.2]

Builds one video of each size (noise bursts between silences, all of one original), recovers each in a process of its
own and prints the largest resident size of the main process and of its workers. Exit 1 if they differ by more than the
tolerance.
"""

from __future__ import annotations

import argparse
import io
import json
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import soundfile

RATE = 16_000
BURST_S, SILENCE_S = 1.5, 0.6
ORIGINAL_PIECES = 50
"""Pieces of one original: its size is the same in both videos, so that only their number differs."""
EVERY_S = 0.01
RUN = "memory"


def original(pieces: int, seed: int) -> bytes:
    """Return one FLAC: `pieces` bursts of noise, each between silences; int16, mono, 16 kHz."""
    rng = np.random.default_rng(seed)
    silence = np.zeros(round(SILENCE_S * RATE), np.int16)
    parts = [silence]
    for _ in range(pieces):
        burst = rng.integers(-3000, 3000, round(BURST_S * RATE), np.int16)
        parts += [burst, silence]
    file = io.BytesIO()
    soundfile.write(file, np.concatenate(parts), RATE, format="FLAC")
    return file.getvalue()


def write_tar(path: Path, files: dict[str, bytes]) -> None:
    """Write a tar of some files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def build(root: Path, segments: int) -> None:
    """Write a corpus with one video whose split rows have no transcribed tar yet."""
    originals = max(1, segments // ORIGINAL_PIECES)
    audio = original(ORIGINAL_PIECES, 1)
    write_tar(root / "raw" / "video.tar", {f"video/segments/{n:05d}.flac": audio for n in range(originals)})
    for folder in ("transcribed", "validation"):
        (root / folder).mkdir()
    with sqlite3.connect(root / "corpus.sqlite") as database:
        database.execute(
            "create table transcription_results (id integer primary key, video_id text, segment_file text,"
            " transcription text, language text, duration_s real, created_at text)"
        )
        database.execute("create table videos (video_id text, status text, validation_status text, updated_at text)")
        database.execute("insert into videos values ('video', 'done', null, null)")
        database.executemany(
            "insert into transcription_results (video_id, segment_file, transcription, language) values (?, ?, ?, ?)",
            [
                ("video", f"{number:05d}.flac_split{index}", "some twenty characters", "en")
                for number in range(originals)
                for index in range(ORIGINAL_PIECES)
            ],
        )
    (root / "resplice.toml").write_text(f"[polish]\nmax_segment_s = {BURST_S * 2}\n")  # one burst a piece


def resident(process: psutil.Process) -> int:
    """Return the largest resident size of a process so far, in bytes."""
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def watch(pid: int, peaks: dict[str, int], ended: threading.Event) -> None:
    """Note the peaks of a process and of the largest of its workers until it has ended."""
    main = psutil.Process(pid)
    while not ended.wait(EVERY_S):
        try:
            peaks["main"] = max(peaks["main"], resident(main))
            for child in main.children(recursive=True):
                if child.cmdline() != main.cmdline():  # a child that is about to become a worker still is its parent
                    peaks["worker"] = max(peaks["worker"], resident(child))
        except (psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
            continue


def recover(root: Path) -> tuple[dict[str, int], float]:
    """Recover a corpus in a process of its own; return the peaks in bytes and the seconds that it took."""
    arguments = ["recover", "--config", str(root / "resplice.toml"), "--run-id", RUN, "--yes", "--quiet"]
    peaks, ended, began = {"main": 0, "worker": 0}, threading.Event(), time.monotonic()
    command = [sys.executable, "-m", "resplice.pipelines", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    thread = threading.Thread(target=watch, args=(process.pid, peaks, ended))
    thread.start()
    said, _ = process.communicate()
    ended.set()
    thread.join()
    if process.returncode:
        raise SystemExit(f"recover ended with {process.returncode}:\n{said}")
    return peaks, time.monotonic() - began


def repaired(root: Path) -> tuple[int, int]:
    """Return the bytes of the repaired tar and the number of segments that passed or failed validation."""
    tar = root / "workspace" / "runs" / RUN / "repair" / "transcribed" / "video_transcribed.tar"
    coverage = json.loads((root / "workspace" / "runs" / RUN / "verify" / "coverage.json").read_text())
    return tar.stat().st_size, coverage["validated"]


def measure(segments: int) -> dict[str, int]:
    """Build and recover one video; print and return its peaks."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        build(root, segments)
        peaks, seconds = recover(root)
        size, validated = repaired(root)
    if validated != segments:
        raise SystemExit(f"{validated} of {segments} segments validated")
    told = ", ".join(f"{name} {peak / 2**20:7.1f} MiB" for name, peak in peaks.items())
    print(f"{segments:6} segments, tar of {size / 2**20:7.1f} MiB: {told}, {seconds:.1f} s", flush=True)
    return peaks


def main() -> int:
    """Measure both sizes and compare them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--segments", type=int, nargs=2, default=(50, 5000), help="sizes to compare")
    parser.add_argument("--tolerance", type=float, default=0.2, help="share by which the peaks may differ")
    args = parser.parse_args()
    few, many = (measure(segments) for segments in args.segments)
    ratios = {name: many[name] / few[name] for name in few}
    print(", ".join(f"{name}: {ratio:.2f} times" for name, ratio in ratios.items()))
    return int(any(abs(ratio - 1) > args.tolerance for ratio in ratios.values()))


if __name__ == "__main__":
    sys.exit(main())

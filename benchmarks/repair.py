"""Speed of `resplice repair --workers 2` against a script written by hand, and against soundfile alone.

    python benchmarks/repair.py [--quick] [--hours 12] [--rounds 5]

Builds a corpus of speech-like recordings (16 kHz mono, each of 30 to 120 s, ten a video; about a hundred of them are
different) whose split rows have no transcribed tars yet, and repairs all of it, with two processes on each side:

- `resplice`: the command `repair --workers 2 --quiet`, after `baseline` and `plan`, which are not in the figure;
- `rival`: `rival_repair.py`, a pool of two processes;
- `limit`: nothing but decode, encode and decode of the same originals by soundfile, in a pool of two processes.

Each round runs the three one after the other, every second one the other way round. A figure is the median of the
rounds' seconds inside the command: from its call, after the imports of its process (for resplice also Beam's), to its
end. So these are in it: reading plan and rows, starting Beam's runner and the workers (resplice's import numpy and
soundfile, the pools fork), reading the raw tars from the page cache, MD5 of each raw FLAC, split, encoding, MD5 of each
written FLAC, writing the tars (resplice's also: index, sidecar, ledger, SHA-256 of tars and members, fsync) and reading
them back. The rival and the limit write nothing to the disk that they wait for.

Seconds of CPU, of a side's processes together, are printed too: on a disturbed machine, or where a slow disk decides
(a folder in memory, TMPDIR=/dev/shm, leaves it out), they tell more.

In the end all segments of both sides are decoded: their samples must have the MD5s that the corpus was composed with,
else exit 1. 12 hours need about 3 GB in the temporary folder.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib
import io
import logging
import multiprocessing
import os
import random
import resource
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import rival_repair
import soundfile

from resplice.io import pool
from resplice.pipelines.__main__ import main as resplice_main
from resplice.pipelines.demo_audio import compose, phrases

SHORTEST_S, LONGEST_S = 30.0, 120.0
ORIGINALS = 10
DIFFERENT = 96
QUICK_HOURS, QUICK_DIFFERENT = 0.05, 4
WORKERS = 2
RUN = "bench"
LOADED_LATE = (
    "apache_beam.runners.portability.fn_api_runner",
    "resplice.pipelines.options",
    "resplice.pipelines.repair",
    "resplice.transforms.steps",
    "sqlalchemy.dialects.sqlite",
)
"""What the command imports when it runs."""
ROWS = "(id integer primary key, video_id text, segment_file text, transcription text, language text, duration_s real,"
OPTIONS = ["--config", "resplice.toml", "--run-id", RUN, "--quiet"]
Truth = dict[tuple[str, str], str]


class Took(NamedTuple):
    """What a command took: seconds, and seconds of CPU of its process and of those that it started and ended."""

    seconds: float
    cpu_s: float


class Original(NamedTuple):
    """A recording: its FLAC and its seconds, and the seconds and the MD5 of the PCM of each of its pieces."""

    flac: bytes
    seconds: float
    pieces: list[tuple[float, str]]


def original(number: int) -> Original:
    """Return one of the different originals, and what it must be cut into."""
    rng = np.random.default_rng(number)
    recording = compose(phrases(rng, rng.uniform(SHORTEST_S, LONGEST_S)), 1, rng)
    rate = recording.layout.rate
    pieces = [((end - begin) / rate, recording.md5(begin, end)) for begin, end in recording.pieces]
    return Original(recording.flac, recording.layout.length / rate, pieces)


def build(root: Path, hours: float, different: int) -> tuple[float, Truth]:
    """Write a corpus of about some hours; return its seconds, and the MD5 of each segment's PCM by video and stem."""
    for folder in ("raw", "transcribed", "validation"):
        (root / folder).mkdir()
    (root / "resplice.toml").touch()
    videos = max(2, round(hours * 3600 / (ORIGINALS * (SHORTEST_S + LONGEST_S) / 2)))
    with multiprocessing.Pool() as processes:
        originals = processes.map(original, range(different))
    chosen = random.Random(1)
    total_s, rows, truth = 0.0, [], {}
    for video in (f"video{number:04d}" for number in range(videos)):
        with tarfile.open(root / "raw" / f"{video}.tar", "w") as tar:
            for name in (f"{number:05d}" for number in range(ORIGINALS)):
                flac, seconds, pieces = chosen.choice(originals)
                total_s += seconds
                info = tarfile.TarInfo(f"{video}/segments/{name}.flac")
                info.size = len(flac)
                tar.addfile(info, io.BytesIO(flac))
                for index, (piece_s, md5) in enumerate(pieces):
                    rows.append((video, f"{name}.flac_split{index}", "some twenty characters", "en", piece_s))
                    truth[video, f"{name}_split{index}"] = md5
    with sqlite3.connect(root / "corpus.sqlite") as database:
        database.execute(f"create table transcription_results {ROWS} created_at text)")
        database.execute("create index by_video on transcription_results (video_id)")
        database.execute("create table videos (video_id text, status text, validation_status text, updated_at text)")
        names = "video_id, segment_file, transcription, language, duration_s"
        database.executemany(f"insert into transcription_results ({names}) values (?, ?, ?, ?, ?)", rows)
    return total_s, truth


def cpu_s() -> float:
    """Return the seconds of CPU that this process and its ended children have used."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def clock(command: Callable[[], object], after: Callable[[], object] = lambda: None) -> Took:
    """Run a command; `after`, what ends its processes, is not in its seconds."""
    cpu, began = cpu_s(), time.perf_counter()
    command()
    seconds = time.perf_counter() - began
    after()
    return Took(seconds, cpu_s() - cpu)


def time_resplice(root: Path, out: Path) -> Took:
    """Clock one repair; its tars are moved to `out` afterwards."""
    logging.disable(logging.WARNING)  # Beam misses Google's libraries
    for module in LOADED_LATE:
        importlib.import_module(module)
    logging.disable(logging.NOTSET)
    os.chdir(root)
    made = root / "workspace" / "runs" / RUN / "repair"
    with contextlib.redirect_stdout(io.StringIO()):
        took = clock(lambda: resplice_main(["repair", *OPTIONS, "--workers", str(WORKERS)]), pool.close_all)
    (made / "transcribed").rename(out)
    shutil.rmtree(made)
    return took


def time_rival(root: Path, out: Path) -> Took:
    """Clock one repair by the rival."""
    out.mkdir()
    return clock(lambda: rival_repair.run(root, out, WORKERS))


def recode(raw: Path) -> None:
    """Decode, encode and decode the originals of a raw tar."""
    with tarfile.open(raw) as tar:
        for member in tar:
            flac = io.BytesIO(tar.extractfile(member).read())
            samples, rate = soundfile.read(flac, dtype="int16", always_2d=True)
            soundfile.read(io.BytesIO(rival_repair.encode(samples, rate)), dtype="int16", always_2d=True)


def recode_all(root: Path) -> None:
    """Decode, encode and decode all originals."""
    with multiprocessing.Pool(WORKERS) as processes:
        for _ in processes.imap_unordered(recode, sorted((root / "raw").glob("*.tar"))):
            pass


def time_limit(root: Path, out: Path) -> Took:
    """Clock soundfile alone."""
    return clock(lambda: recode_all(root))


SIDES: dict[str, Callable[[Path, Path], Took]] = {"resplice": time_resplice, "rival": time_rival, "limit": time_limit}


def measure(root: Path, rounds: int) -> dict[str, list[Took]]:
    """Return what each round of each side took; the tars of the last round stay in `root/{side}`."""
    clocked: dict[str, list[Took]] = {side: [] for side in SIDES}
    for number in range(rounds):
        for side in list(SIDES)[:: -1 if number % 2 else 1]:
            shutil.rmtree(root / side, ignore_errors=True)
            os.sync()  # what one side wrote is not to be flushed in the time of the next
            with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
                clocked[side].append(process.submit(SIDES[side], root, root / side).result())
        told = ", ".join(f"{side} {took[-1].seconds:.2f} s" for side, took in clocked.items())
        print(f"round {number + 1}: {told}", flush=True)
    return clocked


def pcm_md5s(tar: Path) -> Truth:
    """Return the MD5 of the samples that each FLAC of a transcribed tar decodes to, by video and stem."""
    found = {}
    with tarfile.open(tar) as members:
        for member in members:
            video, _, name = member.name.partition("/segments/")
            if name:
                flac = io.BytesIO(members.extractfile(member).read())
                samples, _ = soundfile.read(flac, dtype="int16", always_2d=True)
                found[video, Path(name).stem] = hashlib.md5(samples).hexdigest()
    return found


def check(root: Path, truth: Truth) -> None:
    """Raise SystemExit unless both sides wrote exactly the segments that the corpus was composed of."""
    for side in ("resplice", "rival"):
        with multiprocessing.Pool() as processes:
            tars = processes.map(pcm_md5s, sorted((root / side).glob("*_transcribed.tar")))
        made = {segment: md5 for tar in tars for segment, md5 in tar.items()}
        if made != truth:
            wrong = sum(made.get(segment) != truth.get(segment) for segment in {*made, *truth})
            raise SystemExit(f"{side}: {wrong} of {len(truth)} segments do not have the PCM they were composed of")
    print(f"both sides made the same PCM of {len(truth)} segments")


def main() -> int:
    """Measure, check and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=12.0, help="audio in the corpus (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="(default %(default)s)")
    parser.add_argument("--quick", action="store_true", help="one round of half an hour of audio: no figure to trust")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        audio_s, truth = build(root, *((QUICK_HOURS, QUICK_DIFFERENT) if args.quick else (args.hours, DIFFERENT)))
        print(f"{audio_s / 3600:.2f} h of audio in {len(list((root / 'raw').iterdir()))} videos", flush=True)
        for stage in ("baseline", "plan"):
            command = [sys.executable, "-m", "resplice.pipelines", stage, *OPTIONS]
            subprocess.run(command, cwd=root, check=True, stdout=subprocess.DEVNULL)
        clocked = measure(root, 1 if args.quick else args.rounds)
        check(root, truth)
    medians = {side: Took(*map(statistics.median, zip(*took, strict=True))) for side, took in clocked.items()}
    for side, (seconds, cpu) in medians.items():
        speed = audio_s / 3600 / seconds / WORKERS
        print(f"{side:9} {seconds:6.2f} s  {speed:.3f} hours of audio a second and core  ({cpu:.2f} s of CPU)")
    for side in ("rival", "limit"):
        speed, cpu = (ours / theirs for ours, theirs in zip(medians[side], medians["resplice"], strict=True))
        print(f"resplice has {speed:.2f} of the speed of the {side} ({cpu:.2f} by CPU)")
    return 0


if __name__ == "__main__":
    sys.exit(main())

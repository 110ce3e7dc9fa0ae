"""Embedding by `embed` against a bare loop over the same files with the same embedder, and resuming many paths.

    python benchmarks/embed.py --files 400                     # the share of a bare loop's speed, and logmel's own
    python benchmarks/embed.py --from FOLDER                   # the same over audio of yours
    python benchmarks/embed.py --resume 100000                 # how long it takes to decide paths that are completed

The bare loop decodes each file and embeds it in one process on one core (BLAS: one thread), and does nothing else: no
digest, no isolation, no shard. Without --from the files are 15 s of noise and tones each, FLAC, 44.1 kHz stereo.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"))
import numpy as np
import soundfile

from resplice.io import digests, embedders, sounds, vectors
from resplice.io.local import LocalStore, local_token
from resplice.transforms import paths, windows
from resplice.transforms.provenance import document
from resplice.transforms.settings import Embed, StoreOptions

RESPLICE = [sys.executable, "-m", "resplice.pipelines"]
RATE, SECONDS = 44100, 15.0


def write(folder: Path, count: int) -> None:
    """Write files of noise and tones."""
    folder.mkdir(parents=True)
    time_ = np.arange(round(SECONDS * RATE)) / RATE
    for number in range(count):
        random = np.random.default_rng(number)
        tones = sum(np.sin(2 * np.pi * pitch * time_) for pitch in random.uniform(80, 4000, 4))
        stereo = np.stack([0.1 * tones, 0.1 * tones], 1) + random.normal(0, 0.02, (len(time_), 2))
        soundfile.write(folder / f"{number:06d}.flac", (stereo * 32767).astype(np.int16), RATE)


def bare(files: list[Path]) -> tuple[float, float, float]:
    """Return the wall-clock seconds of the loop, the CPU seconds of the embedder alone, and the seconds of audio."""
    model = embedders.choose(Embed(), StoreOptions()).load()
    sound = sounds.decode(str(files[0]), files[0].name, model.sample_rate)
    model.embed([sound.samples])
    began, own, audio = time.monotonic(), 0.0, 0.0
    for file in files:
        sound = sounds.decode(str(file), file.name, model.sample_rate)
        start = time.process_time()
        windows.mean(model.embed([sound.samples]))
        own += time.process_time() - start
        audio += sound.duration_s
    return time.monotonic() - began, own, audio


def embed(folder: Path, *more: str) -> float:
    """Return the seconds of the command, its start and its end included."""
    began = time.monotonic()
    subprocess.run([*RESPLICE, "embed", "music", "--quiet", *more], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - began


def used() -> float:
    """Return the seconds of CPU that commands took so far, with their killable workers."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def compare(folder: Path, repeat: int) -> None:
    """Print the speed of both, in turns."""
    files = sorted(path for path in (folder / "music").rglob("*") if path.is_file() and paths.is_audio(path.name))
    for number in range(repeat):
        before = time.process_time()
        loop, own, audio = bare(files)
        cpu, before = time.process_time() - before, used()
        took = embed(folder, "--run-id", f"r{number}", "--out", f"out{number}", "--checkpoint-file", f"{number}.json")
        memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        print(
            f"{len(files)} files, {audio / 3600:.2f} h: bare loop {loop:.1f} s ({audio / loop:.0f}x real time), "
            f"logmel alone {audio / own:.0f}x a core, embed {took:.1f} s ({audio / took:.0f}x): {loop / took:.2f} of "
            f"the loop; CPU {cpu:.1f} and {used() - before:.1f} s; most memory of a process {memory:.0f} MB"
        )


def resume(folder: Path, count: int) -> None:
    """Print how long `embed --resume` takes for paths that are completed."""
    choice = embedders.choose(Embed(), StoreOptions())
    music, known, keys = folder / "music", {}, []
    random = np.random.default_rng(1)
    for number in range(count):
        path = music / f"{number // 1000:04d}" / f"{number:06d}.flac"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"%d" % number)
        keys.append(str(path))
        known[str(path)] = [local_token(path.stat()), random.bytes(32).hex()]
    store = LocalStore(str(folder / "resplice-work"))
    store.replace(digests.MEMORY, document(known), None)
    out = LocalStore(str(folder / "data/embeddings"))
    metadata = {"writing": "1", "embedder_digest": choice.digest, "windows": "full", "run_id": "r"}
    for start in range(0, count, 100):
        rows = [
            {"key": key, "path": key, "content_sha256": known[key][1], "embedder": choice.name, "embedder_digest":
             choice.digest, "windows": "full", "start_s": 0.0, "dim": 120, "duration_s": 1.0, "sample_rate": 16000,
             "run_id": "r"} for key in keys[start : start + 100]
        ]  # fmt: skip
        made = [random.normal(0, 1, 120).astype(np.float32) for _ in rows]
        out.create(
            f"000001-r/{start // 100:05d}-{'0' * 12}.parquet", vectors.encode(rows, made, False, False, metadata)
        )
    checkpoint = {"version": 1, "completed_paths": keys, "failed_paths": []}
    (folder / "data/embed_checkpoint.json").write_bytes(document(checkpoint))
    for _ in range(3):
        took = embed(folder, "--resume", "--run-id", "again")
        counters = json.loads((folder / "data/embed_checkpoint.json").read_bytes())["counters"]
        assert counters["skipped_checkpoint"] == count, counters
        print(f"{count} completed paths: {took:.1f} s for the whole command")


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=400)
    parser.add_argument("--from", dest="folder", type=Path)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--resume", type=int, metavar="PATHS")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if given.resume:
            resume(folder, given.resume)
            return
        if given.folder:
            (folder / "music").symlink_to(given.folder.absolute())
        else:
            write(folder / "music", given.files)
        compare(folder, given.repeat)


if __name__ == "__main__":
    main()

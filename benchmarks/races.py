"""Race publishers: in each round four processes of `resplice merge`, of four runs, publish to one workspace at once.

    python benchmarks/races.py [--rounds 100] [--seed 1] [--server minio]

Some runs of a round planned the same videos, some not; all meet just before they first create a snapshot. A round is
right if every process ends with 0 or 4, the chain holds, each run that ended with 0 published just one snapshot (no
double winner), the results are those of its videos by exactly these runs and of history elsewhere (no lost update), and
each run that ended with 4 shares a video with one that won, and is in no snapshot.

Everything before `merge` runs once, in a temporary folder; each round begins with a copy of it, and no snapshot, in
a workspace of its own: a folder, or with `--server` in a bucket of a real S3 server on this machine (`.ci/parts` builds
it). Prints seed and outcome of each round that is not right; exit 1 if there is one.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import hollow
import objects
from timed import LATER

from resplice.io import history, snapshots
from resplice.io.local import LocalStore
from resplice.io.store import Place, Store

PUBLISHERS = 4
WAVES = {"a": (1, 2), "b": (3, 4), "c": (5, 6), "d": (7, 8), "e": (2, 3), "f": (5,)}
"""The videos of each run: a to d share none, e shares with a and b, f with c."""
VIDEOS = range(1, 10)
WAIT_S = 120


def build(root: Path) -> Path:
    """Write a corpus and the runs of all waves up to `merge`; return the workspace."""
    hollow.begin(root)
    hollow.add_videos(root, VIDEOS, hollow.FAILED)
    hollow.write_tars(root, VIDEOS)
    for number in range(3):
        hollow.write_results(root / f"validation/part-{number}.parquet", [v for v in VIDEOS if v % 3 == number], number)
    workspace, commands = root / "runs", []
    for run, videos in WAVES.items():
        listed, given = root / f"{run}.txt", root / f"{run}.given"
        listed.write_text("".join(f"{hollow.video(number)}\n" for number in videos))
        hollow.write_results(given / "results.parquet", videos, ord(run), stems=True)
        steps = (("baseline",), ("plan", "--videos", str(listed)), ("repair",), ("validate", "--from", str(given)))
        commands += [hollow.command(root, name, workspace, run, *more) for name, *more in steps]
    hollow.timed(commands)
    return workspace


@dataclass
class Round:
    """One race: the exit code of each run's merge, and what is wrong with the outcome."""

    runs: Sequence[str]
    codes: dict[str, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)


def fill(source: Path, target: Store, runs: Sequence[str]) -> None:
    """Copy some runs into an empty workspace."""
    store = LocalStore(str(source))
    for run in runs:
        for head in store.list(f"runs/{run}/"):
            if not target.create(head.key, store.read(head.key)):
                raise SystemExit(f"{target.url} is not empty")


def race(root: Path, source: Path, place: Place, runs: Sequence[str]) -> Round:
    """Let the merges of some runs race in a new workspace, and judge what they leave."""
    store = place.store
    fill(source, store, runs)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(LATER))
    barrier = context.Barrier(len(runs))
    processes = {}
    for run in runs:
        arguments = hollow.command(root, "merge", place.url, run, *settings_of(place))
        processes[run] = context.Process(target=publisher, args=(arguments, barrier))
        processes[run].start()
    done = Round(runs)
    for run, process in processes.items():
        process.join(WAIT_S)
        if process.exitcode is None:
            process.kill()
            process.join()
        done.codes[run] = process.exitcode
    done.faults = judge(place, done)
    return done


def settings_of(place: Place) -> list[str]:
    """Return how a command is told where an object store is."""
    options = place.options
    return (
        []
        if place.local
        else [f"--set=store.endpoint_url={options.endpoint_url}", f"--set=store.region={options.region}"]
    )


def publisher(arguments: list[str], barrier: threading.Barrier) -> None:
    """Run one merge that meets the others just before it first creates a snapshot."""
    from resplice.pipelines.__main__ import main

    publish = snapshots.publish

    def together(*state: Any) -> bool:
        snapshots.publish = publish
        with contextlib.suppress(threading.BrokenBarrierError):
            barrier.wait(WAIT_S / 2)
        return publish(*state)

    snapshots.publish = together
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    os.dup2(sys.stdout.fileno(), sys.stderr.fileno())
    sys.exit(main(arguments))


def judge(place: Place, done: Round) -> list[str]:
    """Return what is wrong with the outcome of a round."""
    lines = history.lines(place.store)
    published = sorted(line.run_id or "" for line in lines)
    winners = sorted(run for run, code in done.codes.items() if code == 0)
    taken = {video for run in winners for video in WAVES[run]}
    faults = [f"{run} ended with {code}" for run, code in done.codes.items() if code not in (0, 4)]
    faults += [f"snapshot {line.number}: {line.fault}" for line in lines if line.fault]
    faults += [f"{run} lost without need" for run, code in done.codes.items()
               if code == 4 and not taken.intersection(WAVES[run])]  # fmt: skip
    if published != winners:
        faults.append(f"snapshots of {published}, but {winners} ended with 0")
    wanted = {hollow.video(video): "" for video in VIDEOS}
    wanted |= {hollow.video(video): run for run in winners for video in WAVES[run]}
    if lines and (found := results(place)) != dict.fromkeys(wanted.items(), hollow.SEGMENTS):
        faults.append(f"results of {found}")
    return faults


def results(place: Place) -> dict[tuple[str, str], int]:
    """Return the number of live results by video and run ("": history)."""
    table = snapshots.dataset(place.url, options=place.options).to_table(columns=["video_id", "run_id"])
    rows = zip(table["video_id"].to_pylist(), table["run_id"].to_pylist(), strict=True)
    return dict(Counter((video, run or "") for video, run in rows))


def lot(seed: int, number: int) -> list[str]:
    """Return the runs of a round."""
    return random.Random(f"{seed}-{number}").sample(sorted(WAVES), PUBLISHERS)


@contextlib.contextmanager
def raced(server: str | None, folder: Path) -> Iterator[Place]:
    """Give the place of all workspaces: a folder, or a bucket of a server that runs for so long."""
    if server is None:
        yield Place(f"{folder}/raced")
        return
    with objects.serving(server, folder / "server") as bucket:
        yield Place(f"s3://{bucket.name}", options=bucket.options)


def main() -> int:
    """Run all rounds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--server", choices=("minio", "versitygw"))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, raced(args.server, Path(folder)) as workspace:
        root, wrong, won = Path(folder), 0, 0
        source, began = build(root), time.monotonic()
        for number in range(args.rounds):
            place = replace(workspace, url=f"{workspace.url}/{args.seed}-{number}")
            done = race(root, source, place, lot(args.seed, number))
            wrong, won = wrong + bool(done.faults), won + sum(code == 0 for code in done.codes.values())
            if done.faults:
                print(f"seed {args.seed}, round {number}: {done.codes}: {'; '.join(done.faults)}", flush=True)
    lost, seconds = args.rounds * PUBLISHERS - won, time.monotonic() - began
    print(f"seed {args.seed}: {args.rounds} races of {PUBLISHERS}: {won} published, {lost} did not, "
          f"{wrong} races wrong, {seconds:.0f} s")  # fmt: skip
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())

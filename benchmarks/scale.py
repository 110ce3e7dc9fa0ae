"""How the stages grow with the rows that are not affected: plan and verify linearly, repair, validate, merge hardly.

    python benchmarks/scale.py [--rows 250000 500000 1000000 2000000] [--affected 20] [--repeat 5]

One corpus grows from size to size: 20 rows a video, both tars right, one result a row, shards of 100,000 rows. The same
`--affected` videos are damaged in each size: real audio whose transcribed tars are missing. What is real: rows in
SQLite, tar headers, historical parquet. What is not: the members of the tars of unaffected videos are empty, as no
stage reads their audio.

Each repetition runs plan, repair, validate, merge and verify anew in one process, timed after the imports; baseline, of
which nothing is promised here, runs once a size. Prints the median seconds of each stage and size, its growth from the
smallest to the largest size, and for plan and verify the slope of a fitted line in seconds a million rows and how far
the largest size is off the line through the others. Exit 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sqlite3
import sys
import tempfile
from pathlib import Path

import hollow
import memory
import numpy as np

STAGES = ("plan", "repair", "validate", "merge", "verify")
PER_SHARD = 100_000
GROWTH = 1.5
"""What a stage that hardly grows may grow by from the smallest to the largest size."""
OFF_LINE = 0.15
"""How far off the line through the other sizes the largest may be, as a share of it."""
RUN = "scale"


def damage(root: Path, affected: int) -> None:
    """Add videos whose splits have no transcribed tar yet."""
    audio = memory.original(hollow.SEGMENTS, 1)
    files = [f"0000.flac_split{index}" for index in range(hollow.SEGMENTS)]
    with sqlite3.connect(root / "corpus.sqlite") as database:
        for number in range(affected):
            name = f"a{number:09d}"
            memory.write_tar(root / "raw" / f"{name}.tar", {f"{name}/segments/0000.flac": audio})
            hollow.add_video(database, name, files, None)


def grow(root: Path, before: int, rows: int) -> None:
    """Let the corpus grow from some rows that are not affected to more of them."""
    for first in range(before, rows, PER_SHARD):
        numbers = range(first // hollow.SEGMENTS, min(first + PER_SHARD, rows) // hollow.SEGMENTS)
        hollow.write_tars(root, numbers)
        hollow.write_results(root / "validation" / f"part-{first:010d}.parquet", numbers, first)
        hollow.add_videos(root, numbers, "validated")


def measure(root: Path, repeat: int) -> dict[str, float]:
    """Run every stage; return the median seconds of each."""
    workspace = root / "workspace"
    shutil.rmtree(workspace, ignore_errors=True)
    commands = [hollow.command(root, stage, workspace, RUN) for stage in ("baseline", *STAGES)]
    frozen, *first = hollow.timed(commands)["seconds"]
    found = [first]
    for _ in range(1, repeat):
        for made in (*(f"runs/{RUN}/{stage}" for stage in STAGES), "snapshots", "objects"):
            shutil.rmtree(workspace / made)
        found.append(hollow.timed(commands[1:])["seconds"])
    coverage = json.loads((workspace / "runs" / RUN / "verify" / "coverage.json").read_text())
    if not coverage["complete"]:
        raise SystemExit(f"not complete: {coverage}")
    medians = [hollow.median(seconds) for seconds in zip(*found, strict=True)]
    return {"baseline": frozen, **dict(zip(STAGES, medians, strict=True))}


def show(sizes: list[int], found: list[dict[str, float]]) -> bool:
    """Print the table and the targets; return whether all were met."""
    print(f"{'rows':>10} " + "".join(f"{stage:>10}" for stage in found[0]))
    for rows, seconds in zip(sizes, found, strict=True):
        print(f"{rows:>10} " + "".join(f"{value:>8.2f} s" for value in seconds.values()), flush=True)
    growth = {stage: found[-1][stage] / found[0][stage] for stage in found[0]}
    print(f"{'growth':>10} " + "".join(f"{value:>9.2f}x" for value in growth.values()))
    targets = {f"{stage} grows at most {GROWTH}x": growth[stage] <= GROWTH for stage in ("repair", "validate", "merge")}
    for stage in ("plan", "verify"):
        slope, off = line(sizes, [seconds[stage] for seconds in found])
        print(f"{stage}: {slope:.2f} s a million rows; the largest size is {off:+.1%} off the line through the others")
        targets[f"{stage} at most {OFF_LINE:.0%} above linear"] = off <= OFF_LINE
    for text, met in targets.items():
        print(hollow.target(text, met))
    return all(targets.values())


def line(sizes: list[int], seconds: list[float]) -> tuple[float, float]:
    """Return the slope of a line through all sizes, in seconds a million rows, and how far the largest is off the line
    through the others, as a share of it.
    """
    slope, _ = np.polyfit(sizes, seconds, 1)
    others = np.polyfit(sizes[:-1], seconds[:-1], 1)
    return float(slope * 1e6), float(seconds[-1] / np.polyval(others, sizes[-1]) - 1)


def main() -> int:
    """Measure all sizes, ascending."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sizes = [250_000, 500_000, 1_000_000, 2_000_000]
    parser.add_argument("--rows", type=int, nargs="+", default=sizes, help="at least three sizes, ascending")
    parser.add_argument("--affected", type=int, default=20, help="damaged videos, the same in each size")
    parser.add_argument("--repeat", type=int, default=5, help="runs of each size")
    args = parser.parse_args()
    found = []
    with tempfile.TemporaryDirectory(prefix="resplice-bench-") as folder:
        root = Path(folder)
        hollow.begin(root, f"[polish]\nmax_segment_s = {memory.BURST_S * 2}\n")
        damage(root, args.affected)
        for before, rows in zip([0, *args.rows], args.rows, strict=False):
            grow(root, before, rows)
            found.append(measure(root, args.repeat))
    return int(not show(args.rows, found))


if __name__ == "__main__":
    sys.exit(main())

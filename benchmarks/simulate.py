"""Baseline, plan, merge and verify over a synthetic corpus of 500,000 videos and 50,000,000 rows, on two cores.

    python benchmarks/simulate.py [--videos 5000 50000 500000] [--folder DIR]

What is real: the rows (SQLite, about 80 characters of text each, 1 to 1,000 rows a video, 100 on average, an index by
video), the historical shards (one a million rows, each with videos of every part of the corpus), the files of the tars
and their versions, the index of the tars that an earlier baseline left (the product's own format, by its own writer),
and all that the four commands do, each in a process of its own at `--workers 2`. What is not: tars are sparse files, of
which the baseline needs no byte, as the earlier one has read this version of them; and no audio is repaired or judged:
the results of the planned videos are written as `validate` writes them. One video in a hundred is affected, in one of
five ways (see `planted.py`); a quarter of the videos has split rows, in both spellings; one in a thousand odd names.

Prints what the corpus took to make, and for each size and command the seconds after the imports, the seconds of CPU
(and of these the driver's, outside of pipelines), the peak memory of the whole process tree, the bytes that it read and
wrote, and the rows a second; then how each grows from size to size (1 = linearly). Exit 1 if a target is missed, or a
count is not what was planted.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import corpora
import hollow

COMMANDS = ("baseline", "plan", "merge", "verify")
GROWING = ("seconds", "cpu", "peak", "read", "written")
WORKERS = 2
MOST_S = 900.0
MOST_BYTES = 2e9
MOST_EXPONENT = 1.1
"""What the sum of the commands may grow by: rows to the power of this, between the two largest sizes."""
RUN = "simulated"
Measured = dict[str, dict[str, float]]


def measure(root: Path, videos: int) -> Measured:
    """Make a corpus, run the commands over it, and return what each took."""
    began = time.perf_counter()
    corpus = corpora.make(root, videos)
    print(f"{videos} videos, {corpus.rows} rows: made in {time.perf_counter() - began:.0f} s", flush=True)
    found: Measured = {}
    for name in COMMANDS:
        if name == "merge":
            corpora.validated(root, videos, RUN)
        found[name] = run(root, name)
        print(f"  {name:9} {told(found[name], corpus.rows)}", flush=True)
    check(root, corpus)
    total = {key: sum(one[key] for one in found.values()) for key in ("seconds", "cpu", "driver", "read", "written")}
    found["sum"] = {**total, "peak": max(one["peak"] for one in found.values())}
    print(f"  {'sum':9} {told(found['sum'], corpus.rows)}", flush=True)
    return found


def run(root: Path, name: str) -> dict[str, float]:
    """Run one command; return its seconds, seconds of CPU, peak memory, and bytes read and written."""
    arguments = hollow.command(root, name, root / "workspace", RUN, "--workers", str(WORKERS))
    record = hollow.timed([arguments])
    return {**record, "seconds": record["seconds"][0]}


def told(one: dict[str, float], rows: int) -> str:
    """Return what one command took, as a line of the table."""
    cpu = f"{one['cpu']:7.1f} s CPU ({one['driver']:5.1f} driver)"
    size = f"{one['peak'] / 1e6:5.0f} MB peak  {one['read'] / 1e9:6.2f} GB read  {one['written'] / 1e9:6.2f} GB written"
    return f"{one['seconds']:7.1f} s  {cpu}  {size}  {rows / one['seconds']:9,.0f} rows/s"


def check(root: Path, corpus: corpora.Made) -> None:
    """Exit unless the commands found what was planted."""
    folder = root / "workspace" / "runs" / RUN
    frozen, planned, covered = (
        json.loads((folder / name).read_text())
        for name in ("baseline/baseline.json", "plan/plan.json", "verify/coverage.json")
    )
    wanted: dict[str, Any] = {
        "rows": corpus.rows, "split rows": corpus.split_rows, "raw tars": corpus.videos, "planned": corpus.affected,
        "historical rows": corpus.historical_rows, "covered": corpus.rows, "validated": corpus.rows, "complete": True,
    }  # fmt: skip
    found = {
        "rows": frozen["rows"], "split rows": frozen["split_rows"], "raw tars": frozen["raw_tars"],
        "planned": planned["videos"], "historical rows": frozen["historical_rows"], "covered": covered["rows"],
        "validated": covered["validated"], "complete": covered["complete"],
    }  # fmt: skip
    if wanted != found:
        raise SystemExit(f"planted {wanted}\nfound   {found}")
    print(f"  planned {planned['videos']} videos: {planned['by_reason']}", flush=True)


def show(sizes: list[int], found: list[Measured]) -> bool:
    """Print how everything grows, and the targets; return whether all were met."""
    for (few, one), (many, other) in itertools.pairwise(zip(sizes, found, strict=True)):
        print(f"growth from {few} to {many} videos, as a power of it (1 = linear):")
        for name in (*COMMANDS, "sum"):
            powers = (f"{key} {power(many / few, other[name][key] / one[name][key]):5.2f}" for key in GROWING)
            print(f"  {name:9} " + "  ".join(powers))
    total = found[-1]["sum"]
    targets = {
        f"{sizes[-1]} videos in less than {MOST_S:.0f} s: {total['seconds']:.0f} s": total["seconds"] < MOST_S,
        f"peak at most {MOST_BYTES / 1e9:.0f} GB: {total['peak'] / 1e9:.2f} GB": total["peak"] <= MOST_BYTES,
    }
    if len(found) > 1:
        growth = power(sizes[-1] / sizes[-2], total["seconds"] / found[-2]["sum"]["seconds"])
        targets[f"growth at most the power of {MOST_EXPONENT}: {growth:.2f}"] = growth <= MOST_EXPONENT
    for text, met in targets.items():
        print(hollow.target(text, met))
    return all(targets.values())


def power(size: float, growth: float) -> float:
    """Return the power of `size` that `growth` is."""
    return math.log(max(growth, 1e-9)) / math.log(size)


def main() -> int:
    """Measure all sizes, ascending."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, nargs="+", default=[5_000, 50_000, 500_000], help="sizes, ascending")
    parser.add_argument("--folder", type=Path, help="where to make the corpora: 25 GB for the largest")
    args = parser.parse_args()
    found = []
    for videos in args.videos:
        root = Path(tempfile.mkdtemp(prefix="resplice-bench-", dir=args.folder))
        try:
            found.append(measure(root, videos))
        finally:
            shutil.rmtree(root)
    return int(not show(args.videos, found))


if __name__ == "__main__":
    sys.exit(main())

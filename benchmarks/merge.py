"""Seconds, memory and bytes of `resplice merge` against DuckDB rewriting every historical shard.

    python benchmarks/merge.py [--rows 5000000] [--shards 50] [--repeat 5]

History is 5 M rows of ten columns in 50 zstd shards (20 rows a video, videos in order). A backfill replaces one in a
hundred videos: (a) spread over all shards, (b) all of one shard. Both sides read the same history and the same backfill
shards, write zstd parquet, start as a new process each time, and are timed after their imports, in alternating order.

What is in our figure: the whole command, with run.json, the check of each replaced video's raw tar and of the database
against the baseline (the version of an SQLite file tells that no row has changed; elsewhere, or after a write, the rows
of the replaced videos are read again, which is not in the figure), the in-process Beam runner, digests, fsync, the
snapshot and its sidecar. Not in it: baseline to validate (the shards of the backfill are there before; DuckDB finds
them there, too) and, in the line `merge`, the first adoption of history: when a snapshot first names a historical
shard, merge copies it into the workspace, once. The line `with first adoption` is a merge that has all of it still to
do. DuckDB's figure is its one statement, without fsync.

The database holds the rows of the replaced videos only, as merge reads no others; members of tars are empty. Peak
memory is that of the whole process tree, bytes written are those of new files. Before anything is printed, the rows of
both sides are compared as multisets over all columns. Exit 1 if a target is missed, 2 if the rows differ.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import hollow

from resplice.io import snapshots
from resplice.io.local import LocalStore

RUN = "backfill"
ONE_IN = 100


@dataclass(frozen=True)
class Backfill:
    """One backfill: what is replaced, and the workspace just before `merge`, with and without adopted history."""

    title: str
    videos: list[int]
    folder: Path

    @property
    def adopted(self) -> Path:
        """Return the workspace whose latest snapshot is history as found, adopted."""
        return self.folder / "adopted"

    @property
    def fresh(self) -> Path:
        """Return the workspace without any snapshot."""
        return self.folder / "fresh"

    @property
    def shards(self) -> str:
        """Return the pattern of the backfill's shards."""
        return str(self.fresh / "runs" / RUN / "validate" / "shards" / "*.parquet")


def build(root: Path, rows: int, shards: int) -> list[Backfill]:
    """Write history, and both backfills up to `merge`."""
    hollow.begin(root)
    per_shard = rows // shards // hollow.SEGMENTS
    total = per_shard * shards
    for index in range(shards):
        numbers = range(index * per_shard, (index + 1) * per_shard)
        hollow.write_results(root / "validation" / f"part-{index:05d}.parquet", numbers, index)
    count = max(1, total // ONE_IN)
    spread = [number * total // count + 1 for number in range(count)]
    backfills = [
        Backfill(f"{min(count, shards)} of {shards}", spread, root / "spread"),
        Backfill(f"1 of {shards}", list(range(1, 1 + count)), root / "one"),
    ]
    affected = sorted({number for backfill in backfills for number in backfill.videos})
    hollow.add_videos(root, affected, hollow.FAILED)
    hollow.write_tars(root, affected)
    prepare(root, backfills)
    return backfills


def prepare(root: Path, backfills: Sequence[Backfill]) -> None:
    """Run all that comes before `merge`, validated by others; then a merge that is rolled back: history is adopted."""
    commands = []
    for backfill in backfills:
        wanted, given = (backfill.folder.with_suffix(suffix) for suffix in (".txt", ".given"))
        wanted.write_text("".join(f"{hollow.video(number)}\n" for number in backfill.videos))
        hollow.write_results(given / "results.parquet", backfill.videos, 1, stems=True)
        steps = (("baseline",), ("plan", "--videos", str(wanted)), ("repair",), ("validate", "--from", str(given)),
                 ("merge",), ("rollback", "--to", "0"))  # fmt: skip
        commands += [hollow.command(root, name, backfill.adopted, RUN, *more) for name, *more in steps]
    hollow.timed(commands)
    for backfill in backfills:
        linked(backfill.adopted, backfill.fresh)
        for made in (f"runs/{RUN}/merge", "snapshots", "objects"):
            shutil.rmtree(backfill.fresh / made)


def linked(source: Path, target: Path) -> None:
    """Copy a workspace by hard links: nothing in it is ever changed in place."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target, copy_function=os.link)


def ours(root: Path, workspace: Path) -> dict[str, Any]:
    """Merge in a copy of a workspace."""
    scratch = root / "merged"
    linked(workspace, scratch)
    record = hollow.timed([hollow.command(root, "merge", scratch, RUN)])
    return {**record, "bytes": hollow.written(workspace, scratch), "rows": digest(live_tables(scratch))}


def rival(root: Path, backfill: Backfill) -> dict[str, Any]:
    """Let DuckDB rewrite everything."""
    out, videos = root / "rewritten", backfill.folder.with_suffix(".txt")
    shutil.rmtree(out, ignore_errors=True)
    script = str(Path(__file__).with_name("rival_merge.py"))
    history = str(root / "validation" / "*.parquet")
    record = hollow.process([sys.executable, script, history, backfill.shards, str(videos), str(out)])
    files = sorted(out.glob("*.parquet"))
    size = sum(file.stat().st_size for file in files)
    return {**record, "bytes": size, "rows": digest([duckdb.read_parquet([str(file) for file in files])])}


def live_tables(workspace: Path) -> list[Any]:
    """Return the shards of the latest snapshot without the rows that it drops, as relations of DuckDB."""
    store = LocalStore(str(workspace))
    tables = (snapshots.without(snapshots.read_all(store, s.key), s.drop) for s in snapshots.latest(store).shards)
    return [duckdb.arrow(table) for table in tables if len(table)]


def digest(relations: Sequence[Any]) -> tuple[int, int]:
    """Return the number of rows and a digest of them whatever their order, over all columns of history."""
    columns = ", ".join(hollow.results([0], 0).column_names)
    found = [relation.aggregate(f"count(*), sum(hash({columns}))").fetchall()[0] for relation in relations]
    return sum(int(rows) for rows, _ in found), sum(int(total) for _, total in found)


def measure(root: Path, backfill: Backfill, repeat: int) -> dict[str, list[dict[str, Any]]]:
    """Run all sides `repeat` times, in alternating order; exit if their rows differ."""
    sides: dict[str, Callable[[], dict[str, Any]]] = {
        "merge": lambda: ours(root, backfill.adopted),
        "with first adoption": lambda: ours(root, backfill.fresh),
        "DuckDB": lambda: rival(root, backfill),
    }
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for number in range(repeat):
        for name in list(sides) if number % 2 == 0 else reversed(sides):
            found[name].append(sides[name]())
    rows = {name: records[0]["rows"] for name, records in found.items()}
    if len(set(rows.values())) > 1:
        print(f"{backfill.title} shards: the rows differ (count, digest): {rows}")
        raise SystemExit(2)
    return found


def show(backfill: Backfill, found: dict[str, list[dict[str, Any]]]) -> bool:
    """Print the figures of one backfill beside their targets; return whether all were met."""
    size = sum(path.stat().st_size for path in Path(backfill.shards).parent.glob("*.parquet"))
    seconds = {name: hollow.median(record["seconds"][0] for record in records) for name, records in found.items()}
    print(f"{backfill.title} shards touched, {len(backfill.videos)} videos replaced, backfill of {size / 1e6:.2f} MB")
    print(f"  all end with the same {found['merge'][0]['rows'][0]} rows; medians of {len(found['merge'])}")
    for name, records in found.items():
        peak, wrote = (hollow.median(record[key] for record in records) for key in ("peak", "bytes"))
        print(f"  {name:20} {seconds[name]:7.2f} s   {peak / 1e6:6.0f} MB peak   {wrote / 1e6:8.2f} MB written")
    ratios = {name: seconds[name] / seconds["DuckDB"] for name in ("merge", "with first adoption")}
    most = 1.0 if backfill.title.startswith("1 of") else 3.0
    allowed = 1.1 * size + 1e6
    peak = max(record["peak"] for name in ratios for record in found[name])
    wrote = max(record["bytes"] for record in found["merge"])
    print(f"  ratio to DuckDB {ratios['merge']:.2f}, with first adoption {ratios['with first adoption']:.2f}")
    targets = {
        f"ratio at most {most:g}": ratios["merge"] <= most,
        "peak memory below 600 MB": peak < 600e6,
        f"written at most 1.1 x backfill + 1 MB = {allowed / 1e6:.2f} MB": wrote <= allowed,
    }
    for text, met in targets.items():
        print(f"  {hollow.target(text, met)}")
    return all(targets.values())


def main() -> int:
    """Measure both backfills."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=5_000_000, help="historical rows")
    parser.add_argument("--shards", type=int, default=50, help="historical shards")
    parser.add_argument("--repeat", type=int, default=5, help="runs of each side")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="resplice-bench-") as folder:
        root = Path(folder)
        met = [show(backfill, measure(root, backfill, args.repeat)) for backfill in build(root, args.rows, args.shards)]
    return int(not all(met))


if __name__ == "__main__":
    sys.exit(main())

"""Seconds and memory of `resplice documents` against DuckDB's joins and a bare loop that writes the same.

    python benchmarks/documents.py [--rows 200000] [--repeat 3] [--million]

The rows hold every kind of dirt (tests/historical.py); what must become of each is known as it is composed, and before
anything is printed, the rows of the index and of the bad list are held against it. Both sides read the same responses,
write into new folders of the same disk, start as a new process each time, and are timed after their imports, in
alternating order.

What is in our figure: the whole command at `--workers 2`: reading the CSVs, checking cells and paths, hashing, the
joins, a second read of each response as it is written, the folders made aside and renamed, making all of it durable,
the index with its indexes, bad list, refusals, summary and report. The rival gets rows that are typed and checked, with
their paths resolved, as one parquet file; it hashes, joins in SQL, and writes three files a document and a row each. It
syncs nothing, keeps no record and could not go on after a kill. Exit 1 if a target is missed, 2 if the counts differ.
"""

from __future__ import annotations

import argparse
import csv
import shutil
import sqlite3
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import hollow
import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import historical
from historical import World

from resplice.io import csvs, responses
from resplice.transforms.documents import SOURCES, Row, checked
from resplice.transforms.records import Refusal

MOST = 2.0
PEAK = 1e9
_MILLION = 1_000_000
COLUMNS = ("source", "number", "task", "combo", "template", "model", "ts", "essay", "generation", "path")


def prepare(world: World) -> None:
    """Write the rows that pass their own checks, as the rival wants them."""
    rows: list[tuple[Any, ...]] = []
    for number in range(len(SOURCES)):
        for block in csvs.blocks(world.cross, number, print):
            rows += [value for row in csvs.read(block) if (value := _typed(world, row))]
    table = pa.table(dict(zip(COLUMNS, zip(*rows, strict=True), strict=True)))
    pq.write_table(table, world.root / "rows.parquet")


def _typed(world: World, row: Row) -> tuple[Any, ...] | None:
    try:
        ticks = checked(row)
        roots = [str(root) for root in world.roots]
        _, path = responses.find(roots, row.file)
        responses.examine(roots, row.file)
    except Refusal:
        return None
    return (row.source, row.number, row.task_id, row.combo_id, row.template, row.model, ticks,
            row.essay or None, row.generation or None, path)  # fmt: skip


def ours(world: World, out: Path) -> dict[str, Any]:
    """Run the command into a new folder, and hold what it wrote against what was composed."""
    record = hollow.timed([world.arguments(out, "--workers", "2")])
    with sqlite3.connect(out / "db" / "index.sqlite") as database:
        made = database.execute("SELECT count(*) FROM documents").fetchone()[0]
    database.close()
    with (out / "bad.csv").open(newline="", encoding="utf-8") as file:
        found = Counter(line["reason"] for line in csv.DictReader(file))
    wanted = world.reasons()
    if made != wanted.pop("") or found != wanted:
        print(f"{made} documents and {dict(found)}, but composed were {dict(world.reasons())}")
        raise SystemExit(2)
    return {"seconds": record["seconds"][0], "peak": record["peak"], "documents": made}


def rival(world: World, out: Path) -> dict[str, Any]:
    """Let DuckDB join and a bare loop write."""
    out.mkdir()
    script = str(Path(__file__).with_name("rival_documents.py"))
    record = hollow.process([sys.executable, script, str(world.root), str(out)])
    return {**record, "parts": record["seconds"], "seconds": sum(record["seconds"].values())}


def main() -> int:
    """Measure both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000, help="rows of all CSVs")
    parser.add_argument("--million", action="store_const", dest="rows", const=_MILLION, help="a million rows")
    parser.add_argument("--repeat", type=int, default=3, help="runs of each side")
    parser.add_argument("--folder", help="where to work; default: the folder for temporary files")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="resplice-bench-", dir=args.folder) as folder:
        world = historical.write(Path(folder) / "world", args.rows)
        prepare(world)
        sides = {"documents": ours, "DuckDB": rival}
        found: dict[str, list[dict[str, Any]]] = {name: [] for name in sides}
        for number in range(args.repeat):
            for name in list(sides) if number % 2 == 0 else reversed(sides):
                out = Path(folder) / "out"
                found[name].append(sides[name](world, out))
                shutil.rmtree(out)
    return show(world, found)


def show(world: World, found: dict[str, list[dict[str, Any]]]) -> int:
    """Print the figures beside their targets; return the exit code."""
    counts = {name: records[0]["documents"] for name, records in found.items()}
    if len(set(counts.values())) > 1:
        print(f"the documents differ: {counts}")
        return 2
    print(f"{world.rows} rows, {counts['documents']} documents; medians of {len(found['documents'])}")
    seconds = {name: hollow.median(record["seconds"] for record in records) for name, records in found.items()}
    for name, records in found.items():
        peak = hollow.median(record["peak"] for record in records)
        parts = records[0].get("parts", {})
        told = ", ".join(f"{part} {value:.1f}" for part, value in parts.items())
        print(f"  {name:10} {seconds[name]:7.1f} s   {peak / 1e6:6.0f} MB peak   {told}")
    ratio, peak = seconds["documents"] / seconds["DuckDB"], max(record["peak"] for record in found["documents"])
    targets = {f"ratio {ratio:.2f} at most {MOST:g}": ratio <= MOST, "peak memory below 1 GB": peak < PEAK}
    for text, met in targets.items():
        print(f"  {hollow.target(text, met)}")
    return int(not all(targets.values()))


if __name__ == "__main__":
    sys.exit(main())

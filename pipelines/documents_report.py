"""Write what is latest in an index of documents, and whether the index and the folders agree.

    resplice documents-report --db sqlite:///data/db/documents.sqlite --docs-root data/docs --out reports

Reads   the table documents, the folders of all documents.
Writes  OUT/documents_latest_report and OUT/documents_consistency_report, each as .csv and .parquet.
Exit 3 if a document lacks its folder or a file of it, or its response has another digest.
"""

from __future__ import annotations

import csv
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from resplice.io import doctree
from resplice.io.index import COLUMNS, Index
from resplice.io.local import LocalStore
from resplice.pipelines import progress
from resplice.pipelines.indexed import folder_of, url_of
from resplice.transforms.records import Exit, UserError

LATEST, CONSISTENCY = "documents_latest_report", "documents_consistency_report"
_NUMBERS = ("raw_chars", "parsed_chars")
LATEST_SCHEMA = pa.schema([(name, pa.int64() if name in _NUMBERS else pa.string()) for name in COLUMNS])
_TOLD = ("doc_id", "stage", "task_id", "doc_dir")
_CHECKS = ("dir_exists", "missing_raw", "missing_parsed", "missing_prompt", "hash_mismatch")
CONSISTENCY_SCHEMA = pa.schema([*((n, pa.string()) for n in _TOLD), *((n, pa.bool_()) for n in _CHECKS)])
_BATCH = 10_000


def run(args: Any) -> int:
    """Run the command."""
    index, root = Index(url_of(args.db)), Path(folder_of(args.docs_root, "--docs-root"))
    out = Path(folder_of(args.out, "--out", there=False))
    if not index.exists():
        raise UserError(f"--db {args.db}: there is no index of documents; `resplice documents` makes one")
    total, _ = index.find({}, 0)
    told, faults = progress.Told(), Counter[str]()
    latest = _written(out, LATEST, LATEST_SCHEMA, index.all(latest=True), args.dry_run)
    with progress.shown("documents-report", "document", total, told.counts, args.quiet):
        checked = _written(out, CONSISTENCY, CONSISTENCY_SCHEMA, _checked(index, root, told, faults), args.dry_run)
    verb = "would write" if args.dry_run else "wrote"
    print(f"documents-report: {verb} {latest} latest of {checked} documents to {out}")
    broken = faults.pop("documents", 0)
    if not broken:
        print("documents-report: every document has its folder and its bytes")
        return Exit.DONE
    counts = ", ".join(f"{count} {name}" for name, count in sorted(faults.items()))
    print(f"documents-report: {broken} documents are not as the index says: {counts}; each: {CONSISTENCY}.csv")
    return Exit.INCOMPLETE


def _checked(index: Index, root: Path, told: progress.Told, faults: Counter[str]) -> Iterator[dict[str, Any]]:
    """Yield the state of every document, and count those that are not as they should be."""
    for number, line in enumerate(index.all(), 1):
        found = doctree.check(root, line)
        wrong = [name for name, value in found.items() if value != (name == "dir_exists")]
        faults.update("missing_dir" if name == "dir_exists" else name for name in wrong)
        faults["documents"] += bool(wrong)
        yield {**{name: line[name] for name in _TOLD}, **found}
        told(number)


def _written(out: Path, name: str, schema: pa.Schema, lines: Iterable[Mapping[str, Any]], dry: bool) -> int:
    """Write lines as CSV and as parquet, whole or not at all; return how many there were."""
    if dry:
        return sum(1 for _ in lines)
    count = 0
    with tempfile.TemporaryDirectory(prefix="resplice-report-") as folder:
        text, parquet = Path(folder) / f"{name}.csv", Path(folder) / f"{name}.parquet"
        with ExitStack() as stack:
            writer = csv.DictWriter(stack.enter_context(text.open("w", newline="", encoding="utf-8")), schema.names,
                                    lineterminator="\n")  # fmt: skip
            columns = stack.enter_context(pq.ParquetWriter(parquet, schema, compression="zstd"))
            writer.writeheader()
            rest = iter(lines)
            while batch := list(islice(rest, _BATCH)):
                count += len(batch)
                writer.writerows({n: _cell(line[n]) for n in schema.names} for line in batch)
                columns.write_table(pa.Table.from_pylist([dict(line) for line in batch], schema))
        store = LocalStore(str(out))
        for file in (text, parquet):
            store.replace(file.name, file, None)
    return count


def _cell(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value

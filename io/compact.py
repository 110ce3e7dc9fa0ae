"""The current rows of a folder of embeddings as a folder of their own: what was replaced is dropped.

A file holds the vectors of one embedder and windows; its metadata say so, and of which writing they are, so that the
new folder can be embedded into, too.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from resplice.io import shards, vectors
from resplice.io.local import LocalStore, sync_folder
from resplice.io.store import Place
from resplice.transforms.records import UserError

_ROWS = 100_000


@dataclass(frozen=True)
class Compacted:
    """How many files and rows are current, and how many rows are not."""

    files: int
    rows: int
    dropped: int


def count(place: Place) -> Compacted:
    """Return what `write` would write."""
    return _compacted(place, [len(table) for _, table in _files(place)])


def write(place: Place, folder: Path) -> Compacted:
    """Write the current rows into a new folder beside its place and rename it: `folder` must be empty or not there."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = folder.parent / f".resplice-tmp-{uuid.uuid4().hex}"
    scratch.mkdir()
    try:
        rows = []
        for number, (metadata, table) in enumerate(_files(place)):
            data = shards.encode(table, metadata)
            LocalStore(str(scratch)).create(f"part-{number:05d}.parquet", data)
            rows.append(len(table))
        try:
            scratch.rename(folder)
        except OSError:
            raise UserError(f"--to {folder} was filled by another process meanwhile; name a new folder") from None
        sync_folder(folder.parent)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return _compacted(place, rows)


def _compacted(place: Place, rows: list[int]) -> Compacted:
    keys = [head.key for head in place.store.list() if head.key.endswith(".parquet")]
    total = 0
    for key in keys:
        with shards.open_file(place.store, key) as file:
            total += file.metadata.num_rows
    return Compacted(len(rows), sum(rows), total - sum(rows))


def _files(place: Place) -> Iterator[tuple[Mapping[str, str], pa.Table]]:
    """Yield the rows of shards that are alike together, some hundred thousand at most, with their metadata."""
    waiting: dict[tuple[str, ...], list[pa.Table]] = {}
    for _, table in vectors.current(place.store):
        told = {name.decode(): value.decode() for name, value in (table.schema.metadata or {}).items()}
        kind = (*(f"{name}={value}" for name, value in sorted(told.items())), str(table.schema.remove_metadata()))
        waiting.setdefault(kind, []).append(table)
        if sum(len(each) for each in waiting[kind]) >= _ROWS:
            yield told, pa.concat_tables(waiting.pop(kind))
    for tables in waiting.values():
        metadata = {name.decode(): value.decode() for name, value in (tables[0].schema.metadata or {}).items()}
        yield metadata, pa.concat_tables(tables)

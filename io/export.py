"""The live results as plain parquet in a folder of the user's: whole or not there, one file a shard that has rows left.

Files are named part-00000.parquet, part-00001.parquet, … in the order of the shards, keep the shard's own columns,
and carry in their metadata the digest of the exported state, by which a later export knows its own folder again.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from resplice.io import shards, sidecars, snapshots
from resplice.io.context import Context
from resplice.io.local import sync_folder
from resplice.transforms import provenance
from resplice.transforms.records import Damage, Exit, UserError
from resplice.transforms.replace import HISTORY, Shard, Snapshot, ordered

STATE = b"exported_state"
_PART = re.compile(r"part-[0-9]{5,}\.parquet")
_BATCH = 1 << 16


@dataclass(frozen=True)
class Exported:
    """What an export holds: files, and rows."""

    parts: int
    rows: int


def live_state(context: Context) -> Snapshot:
    """Return the latest snapshot, or before any, number 0 with the historical shards as found."""
    latest = snapshots.latest(context.workspace.store)
    if latest.number:
        return latest
    place = context.validation
    if place.local and not Path(place.url).is_dir():
        raise UserError(
            f"corpus.validation: there is no folder {place.url}, and no snapshot in {context.workspace.url}"
        )
    status_column = context.settings.history.status_column
    return Snapshot(shards=tuple(ordered(snapshots.found_history(place.store, status_column))))


def not_adopted(context: Context, snapshot: Snapshot) -> int:
    """Return how many historical files the snapshot does not name, by path and token."""
    named = {(shard.source, shard.token) for shard in snapshot.shards if shard.origin == HISTORY}
    heads = (head for head in context.validation.store.list() if head.key.endswith(".parquet"))
    return sum((head.key, head.token) not in named for head in heads)


def state_digest(snapshot: Snapshot) -> str:
    """Return the digest of what a snapshot shows: its shards and what is dropped of each, whatever its number."""
    return provenance.sha256(provenance.line(snapshot.shards).encode())


def held(folder: Path, state: str) -> Exported | None:
    """Return what a folder holds of an export of this state; None: it is not there, or empty.

    UserError (exit 2) if it holds anything else.
    """
    if not folder.exists():
        return None
    if not folder.is_dir():
        raise UserError(f"--to {folder} is a file; name a new folder")
    rows = [_rows_of(file, state) for file in sorted(folder.iterdir())]
    return Exported(len(rows), sum(rows)) if rows else None


def _rows_of(file: Path, state: str) -> int:
    """Return the rows of a file of an export of this state, else raise UserError."""
    if _PART.fullmatch(file.name):
        try:
            metadata = pq.read_metadata(file)
        except (pa.ArrowException, OSError) as error:
            raise UserError(f"--to {file.parent} is not empty, and {file.name} is damaged: {error}") from None
        if (metadata.metadata or {}).get(STATE) == state.encode():
            return int(metadata.num_rows)
    raise UserError(
        f"--to {file.parent} is not empty, and {file.name} is not of an export of this state; name a new folder"
    )


def count(context: Context, snapshot: Snapshot) -> Exported:
    """Return what an export would hold, and write nothing."""
    rows = [sum(len(batch) for batch in _batches(context, shard)) for shard in snapshot.shards]
    return Exported(sum(n > 0 for n in rows), sum(rows))


def write(context: Context, snapshot: Snapshot, folder: Path, told: Callable[[int], None]) -> Exported:
    """Write the export into a new folder beside its place and rename it: `folder` must be empty or not there.

    `told` is called with the number of shards that are read.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = folder.parent / f".resplice-tmp-{uuid.uuid4().hex}"
    scratch.mkdir()
    try:
        exported = _write_parts(context, snapshot, scratch, told)
        if not snapshot.number and live_state(context).shards != snapshot.shards:
            raise UserError("the historical results changed while they were read: run it again", Exit.AGAIN)
        try:
            scratch.rename(folder)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            raise UserError(f"--to {folder} was filled by another process meanwhile", Exit.CONFLICT) from None
        sync_folder(folder.parent)
        return exported
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _write_parts(context: Context, snapshot: Snapshot, scratch: Path, told: Callable[[int], None]) -> Exported:
    state = state_digest(snapshot)
    schema = _schema(context, snapshot)
    parts = rows = 0
    for number, shard in enumerate(snapshot.shards, 1):
        run = {**context.run.metadata(), "run_id": shard.run_id, STATE.decode(): state}
        written = _write_part(scratch / f"part-{parts:05d}.parquet", schema, _batches(context, shard), run)
        parts, rows = parts + (written > 0), rows + written
        told(number)
    sync_folder(scratch)
    return Exported(parts, rows)


def _schema(context: Context, snapshot: Snapshot) -> pa.Schema:
    """Return one schema for all files, so that a reader of the folder loses no column of any."""
    schemas = {}
    for shard in snapshot.shards:
        store, key = snapshots.open_shard(context.workspace.store, context.validation.store, shard)
        schemas[shard.source] = shards.open_file(store, key).schema_arrow.remove_metadata()
    return snapshots.unified(schemas)


def _write_part(path: Path, schema: pa.Schema, batches: Iterator[pa.Table], metadata: Mapping[str, str]) -> int:
    """Write one file and return its rows; no rows: no file."""
    first = next(batches, None)
    if first is None:
        return 0
    rows = 0
    schema = schema.with_metadata(dict(sorted(metadata.items())))
    with path.open("wb") as file:
        with pq.ParquetWriter(file, schema, compression="zstd", write_page_checksum=True) as writer:
            for table in _with(first, batches):
                writer.write_table(snapshots.widened(table, schema).replace_schema_metadata(schema.metadata))
                rows += len(table)
        file.flush()
        os.fsync(file.fileno())
    return rows


def _with(first: pa.Table, rest: Iterator[pa.Table]) -> Iterator[pa.Table]:
    yield first
    yield from rest


def _batches(context: Context, shard: Shard) -> Iterator[pa.Table]:
    """Yield the rows of a shard that count, every column, some ten thousand at a time and never none."""
    store, key = snapshots.open_shard(context.workspace.store, context.validation.store, shard)
    try:
        for batch in shards.open_file(store, key).iter_batches(_BATCH):
            table = snapshots.without(pa.Table.from_batches([batch]), shard.drop)
            if len(table):
                yield table
    except (Damage, FileNotFoundError, pa.ArrowException) as error:
        raise UserError(f"{shard.source} cannot be read: {error}; restore or remove it", Exit.FAILED) from None


def inputs(context: Context, snapshot: Snapshot) -> dict[str, Any]:
    """Return what the sidecar of an export says of its inputs."""
    places = {True: context.workspace, False: context.validation}
    described = [
        sidecars.described(places[bool(shard.key)], shard.key or shard.source, shard.sha256 or None)
        for shard in snapshot.shards
    ]
    snapshot_file = (
        sidecars.described(context.workspace, snapshots.key_of(snapshot.number)) if snapshot.number else None
    )
    return {"snapshot": snapshot_file, "shards": described}

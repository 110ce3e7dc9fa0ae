"""The published state: numbered snapshot files over immutable, content-addressed objects.

A snapshot's number is the fence: its file is created once, never rewritten, and names number and digest of the one
before, so that a publisher who did not see the latest state cannot publish. Read one with plain pyarrow through
`dataset`, which gives the live results of a workspace.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from resplice.io import answers, conditional, documents, results, shards
from resplice.io.sidecars import hashed
from resplice.io.store import Head, Place, Store, mapped
from resplice.transforms import provenance
from resplice.transforms.records import Damage, Exit, UserError
from resplice.transforms.replace import HISTORY, Shard, Snapshot, as_found, live_shards
from resplice.transforms.settings import StoreOptions

_NAME = re.compile(r"snapshots/([0-9]{8})\.json")


def key_of(number: int) -> str:
    """Return the key of a snapshot's file."""
    return f"snapshots/{number:08d}.json"


def numbers(store: Store) -> list[int]:
    """Return the numbers of all snapshots, ascending."""
    return sorted(int(m[1]) for head in store.list("snapshots/") if (m := _NAME.fullmatch(head.key)))


def load(store: Store, number: int) -> Snapshot:
    """Return one snapshot; number 0, which is never written, names no shard.

    UserError (exit 4) if it does not follow from the file before it.
    """
    snapshot = read(store, number)
    if fault := chain_fault(store, snapshot, number):
        raise UserError(
            f"snapshot {number} in {store.url} does not follow from the one before: {fault}; "
            "restore both from a backup",
            Exit.CONFLICT,
        )
    return snapshot


def read(store: Store, number: int) -> Snapshot:
    """Return one snapshot as its file says, whether or not it follows from the one before."""
    if number == 0:
        return Snapshot()
    try:
        return Snapshot.from_json(documents.load(store, key_of(number)))
    except FileNotFoundError:
        there = ", ".join(map(str, numbers(store))) or "none"
        raise UserError(f"there is no snapshot {number} in {store.url} (there: {there})") from None


def chain_fault(store: Store, snapshot: Snapshot, number: int) -> str:
    """Return why a snapshot is not the one of this number that follows from the file before it, "" if it is."""
    if snapshot.number != number:
        return f"its file says number {snapshot.number}"
    before = max(number - 1, 0)
    if (snapshot.parent or 0) != before:
        return f"its parent is {snapshot.parent or 'none'}, not {before or 'none'}"
    try:
        found = digest_of(store, before)
    except FileNotFoundError:
        return f"its parent is {before}, the file of which is gone"
    if snapshot.parent_sha256 != found:
        return f"parent_sha256 is {snapshot.parent_sha256 or 'empty'}, the file of {before} has {found or 'none'}"
    return ""


def latest(store: Store) -> Snapshot:
    """Return the latest snapshot, or number 0 before any."""
    found = numbers(store)
    return load(store, found[-1]) if found else Snapshot()


def digest_of(store: Store, number: int) -> str:
    """Return the SHA-256 of a snapshot's file, "" for number 0."""
    return provenance.sha256(store.read(key_of(number))) if number else ""


def publish(store: Store, snapshot: Snapshot) -> bool:
    """Create the snapshot's file; return whether it is there now: False if another state took the number.

    What is refused or fails is read back and compared as a whole: the bytes hold run, parent and content and no clock,
    so that a publisher whose answer was lost, or who was killed and came again, knows its own. Two publishers of the
    same bytes published the same. Raises OSError if the file could neither be written nor found.
    """
    if fault := chain_fault(store, snapshot, snapshot.number):
        raise ValueError(f"snapshot {snapshot.number} must not be published: {fault}")
    return conditional.create(store, key_of(snapshot.number), provenance.document(snapshot.to_json()))


def object_key(sha256: str, suffix: str) -> str:
    """Return the key of an immutable object, which its content names."""
    return f"objects/sha256/{sha256[:2]}/{sha256}{suffix}"


def own(workspace: Store, key: str, object_: str) -> None:
    """Make the object of something in the workspace whose digest is known, unless it is there."""
    conditional.settled(lambda: workspace.copy(key, object_), lambda: workspace.head(object_) is not None)


def adopt(workspace: Store, validation: Store, shard: Shard) -> Shard:
    """Make an immutable object of a historical shard, so that later changes of the user's folder cannot harm it.

    It is read once, through a temporary file. UserError (exit 75) if it is no longer the version that was found.
    """
    if shard.key:
        return shard
    with tempfile.NamedTemporaryFile() as file:
        sha, token = _spooled(validation, shard.source, file)
        head = validation.head(shard.source)
        if not shard.token == token == (head.token if head else None):
            raise UserError(f"{shard.source} changed while it was adopted: run the same command again", Exit.AGAIN)
        key = object_key(sha, ".parquet")
        conditional.settled(lambda: workspace.create(key, Path(file.name)), lambda: workspace.head(key) is not None)
    return replace(shard, key=key, sha256=sha)


def _spooled(store: Store, key: str, file: IO[bytes]) -> tuple[str, str | None]:
    try:
        return hashed(store, key, file)
    except FileNotFoundError:
        return "", None


def found_history(validation: Store, status_column: str = "status") -> list[Shard]:
    """Return the historical shards that the user's folder holds now: every .parquet file below it.

    UserError if one is damaged or has a column of another type.
    """
    heads = [head for head in validation.list() if head.key.endswith(".parquet")]
    for head in heads:
        if head.key != (name := head.key.encode("utf-8", "replace").decode()):
            raise UserError(f"{validation.url}: the name of {name!r} is not UTF-8; rename this historical shard")
    return [_historical(validation, head, status_column) for head in heads]


def _historical(validation: Store, head: Head, status_column: str) -> Shard:
    try:
        file = shards.open_file(validation, head.key)
        wanted = {"video_id": pa.string(), "segment_file": pa.string(), status_column: pa.string()}
        shards.check(file.schema_arrow, head.key, wanted, optional=[status_column])
        rows = file.metadata.num_rows
    except Damage as damage:
        raise UserError(f"{validation.url}: {damage}; mend or remove this historical shard") from None
    return Shard(head.key, head.token, HISTORY, "", rows)


def open_shard(workspace: Store, validation: Store, shard: Shard) -> tuple[Store, str]:
    """Return where a shard's bytes are: its object, else the historical file."""
    return (workspace, shard.key) if shard.key else (validation, shard.source)


def dataset(workspace: str, number: int | None = None, options: StoreOptions | None = None) -> ds.Dataset:
    """Return the results of a snapshot (the latest if no number is given; 0: history as found) as an in-memory pyarrow
    dataset: every column of every shard (matched by name), without the rows of dropped videos. Without any snapshot it
    is empty. `options` tell how an object store is reached, as [store] does.
    """
    store = Place(workspace, options=options or StoreOptions()).store
    snapshot = as_found(latest(store)) if number == 0 else latest(store) if number is None else load(store, number)
    tables = {shard.source: without(read_all(store, shard.key), shard.drop) for shard in snapshot.shards}
    schema = unified({source: table.schema for source, table in tables.items()})
    return ds.dataset(
        pa.concat_tables([widened(table, schema) for table in tables.values()]) if tables else schema.empty_table()
    )


def unified(schemas: Mapping[str, pa.Schema]) -> pa.Schema:
    """Return one schema for shards (by source), columns matched by name with safe promotion.

    UserError that names two shards if a column has types in them of which neither holds the other.
    """
    kinds: dict[str, tuple[pa.DataType, str]] = {}
    for source, schema in schemas.items():
        for field in schema:
            have, where = kinds.get(field.name, (pa.null(), ""))
            choice = (have, field.type, pa.float64())
            wider = next((kind for kind in choice if _holds(kind, have) and _holds(kind, field.type)), None)
            if wider is None:
                raise UserError(
                    f"parquet_type: column {field.name!r} is {have} in {where} and {field.type} in {source}: mend the "
                    "historical shard, or whatever measures in two kinds of values, and validate again"
                )
            kinds[field.name] = (wider, where if wider == have else source)
    return pa.schema([(name, kind) for name, (kind, _) in kinds.items()])


def _holds(kind: pa.DataType, other: pa.DataType) -> bool:
    try:
        shards.promote(pa.chunked_array([], other), kind, "")
    except Damage:
        return False
    return True


def widened(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return a table with the columns of a schema that `unified` made; those it has not are null.

    UserError for a whole number beyond 2**53 in a column that has fractions elsewhere.
    """
    there = set(table.column_names)
    columns = [
        _promoted(table.column(field.name), field) if field.name in there else pa.nulls(len(table), field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)


def _promoted(column: pa.ChunkedArray, field: pa.Field) -> pa.ChunkedArray:
    try:
        return shards.promote(column, field.type, f"column {field.name!r}")
    except Damage as damage:
        raise UserError(f"{damage}: mend the shard that has it") from None


_OURS = results.BASE.keys() | answers.OURS.keys()


def check_columns(workspace: Store, snapshot: Snapshot) -> None:
    """Raise UserError if a column that somebody's engine or file brought with the run of a snapshot cannot be read
    together with that of another shard.

    Other shards are opened only where there is such a column: those of our own have one type.
    """
    brought = _schemas(workspace, [shard for shard in snapshot.shards if shard.run_id == snapshot.run_id])
    unified(brought)
    if strange := {name for schema in brought.values() for name in schema.names} - _OURS:
        others = _schemas(workspace, [shard for shard in snapshot.shards if shard.run_id != snapshot.run_id], strange)
        for where, schema in others.items():
            unified({**brought, where: schema})


def _schemas(store: Store, among: Sequence[Shard], names: Collection[str] | None = None) -> dict[str, pa.Schema]:
    """Return the distinct schemas of shards by one that has it, of some columns only if they are named."""
    found: dict[pa.Schema, str] = {}
    for shard, schema in mapped(store, lambda shard: (shard, _schema(store, shard.key)), among):
        where = f"{shard.source} of run {shard.run_id}" if shard.run_id else shard.source
        found.setdefault(pa.schema([field for field in schema if names is None or field.name in names]), where)
    return {where: schema for schema, where in found.items()}


def _schema(store: Store, key: str) -> pa.Schema:
    return shards.open_file(store, key, own=True).schema_arrow.remove_metadata()


def live(workspace: Store, validation: Store, status_column: str = "status") -> list[Shard]:
    """Return the shards of the live results now."""
    return live_shards(latest(workspace), found_history(validation, status_column))


def read_all(store: Store, key: str) -> pa.Table:
    """Return a whole shard, every column."""
    return shards.open_file(store, key).read()


def without(table: pa.Table, videos: Iterable[str]) -> pa.Table:
    """Return a table without the rows of some videos."""
    gone = pa.array(sorted(videos), pa.string())
    if not len(gone) or "video_id" not in table.column_names:
        return table
    return table.filter(pc.invert(pc.is_in(table.column("video_id").cast(pa.string()), value_set=gone)))

"""The chain of published snapshots, one line each, checked against the files and objects that are there."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import pyarrow as pa

from resplice.io import shards, snapshots
from resplice.io.store import Store
from resplice.transforms.records import Damage, UserError
from resplice.transforms.replace import Shard, Snapshot


@dataclass(frozen=True)
class Line:
    """One snapshot. `rows` are those that count, `bytes` those of its shards and tars; `fault`: "" if all is well."""

    number: int
    parent: int | None = None
    kind: str | None = None
    run_id: str | None = None
    shards: int | None = None
    rows: int | None = None
    videos: int | None = None
    bytes: int | None = None
    fault: str = ""


def lines(store: Store) -> list[Line]:
    """Return all snapshots, ascending."""
    numbers = snapshots.numbers(store)
    rows = functools.cache(functools.partial(_rows, store))
    return [_line(store, number, before, rows) for before, number in zip([0, *numbers], numbers, strict=False)]


def _line(store: Store, number: int, before: int, rows: Callable[[Shard], int]) -> Line:
    try:
        snapshot = snapshots.load(store, number)
    except (UserError, TypeError, KeyError) as error:
        return Line(number, fault=f"its file cannot be read: {error}")
    counted: int | None = None
    fault = _chain_fault(store, snapshot, number, before)
    if missing := missing_objects(store, snapshot):
        fault = fault or f"{len(missing)} objects are gone, e.g. {missing[0]}"
    else:
        try:
            counted = sum(map(rows, snapshot.shards))
        except (Damage, OSError, pa.ArrowException) as error:
            fault = fault or str(error)
    return Line(number, snapshot.parent, snapshot.kind, snapshot.run_id, len(snapshot.shards), counted,
                len(snapshot.videos), _bytes(store, snapshot), fault)  # fmt: skip


def _chain_fault(store: Store, snapshot: Snapshot, number: int, before: int) -> str:
    if snapshot.number != number:
        return f"its file says number {snapshot.number}"
    if (snapshot.parent or 0) != before or before != number - 1:
        return f"its parent is {snapshot.parent or 'none'}, the file before it {before or 'none'}"
    found = snapshots.digest_of(store, before)
    if snapshot.parent_sha256 != found:
        return f"parent_sha256 is {snapshot.parent_sha256 or 'empty'}, the file of {before} has {found or 'none'}"
    return ""


def _rows(store: Store, shard: Shard) -> int:
    if not shard.drop:
        return shard.rows
    ids = shards.read(store, shard.key, {"video_id": pa.string()})
    return int(snapshots.without(ids, shard.drop).num_rows)


def _keys(snapshot: Snapshot) -> Iterable[str]:
    tars = (entry.tar.key for entry in snapshot.videos.values() if entry.tar)
    return sorted({*(shard.key for shard in snapshot.shards), *tars})


def missing_objects(store: Store, snapshot: Snapshot) -> list[str]:
    """Return the objects that a snapshot names and the workspace has not."""
    return [key for key in _keys(snapshot) if store.head(key) is None]


def _bytes(store: Store, snapshot: Snapshot) -> int:
    return sum(head.size for key in _keys(snapshot) if (head := store.head(key)))

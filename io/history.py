"""The chain of published snapshots, one line each, checked against the files and objects that are there."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pyarrow as pa

from resplice.io import shards, snapshots
from resplice.io.store import Store, mapped
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
    rows = functools.cache(functools.partial(_rows, store))
    sizes = {head.key: head.size for head in store.list("objects/")}  # many snapshots name the same objects
    return [_line(store, number, rows, sizes) for number in snapshots.numbers(store)]


def _line(store: Store, number: int, rows: Callable[[Shard], int], sizes: Mapping[str, int]) -> Line:
    try:
        snapshot = snapshots.read(store, number)
    except (UserError, TypeError, KeyError) as error:
        return Line(number, fault=f"its file cannot be read: {error}")
    counted: int | None = None
    fault = snapshots.chain_fault(store, snapshot, number)
    if missing := [key for key in snapshot.objects if key not in sizes]:
        fault = fault or f"{len(missing)} objects are gone, e.g. {missing[0]}"
    else:
        try:
            counted = sum(map(rows, snapshot.shards))
        except (Damage, OSError, pa.ArrowException) as error:
            fault = fault or str(error)
    return Line(number, snapshot.parent, snapshot.kind, snapshot.run_id, len(snapshot.shards), counted,
                len(snapshot.videos), sum(sizes.get(key, 0) for key in snapshot.objects), fault)  # fmt: skip


def _rows(store: Store, shard: Shard) -> int:
    if not shard.drop:
        return shard.rows
    ids = shards.read(store, shard.key, {"video_id": pa.string()})
    return int(snapshots.without(ids, shard.drop).num_rows)


def missing_objects(store: Store, snapshot: Snapshot) -> list[str]:
    """Return the objects that a snapshot names and the workspace has not."""
    heads = mapped(store, store.head, snapshot.objects)
    return [key for key, head in zip(snapshot.objects, heads, strict=True) if head is None]

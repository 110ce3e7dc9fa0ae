"""Remove objects that no snapshot needs, and what killed probes of the store left, while others publish.

What a snapshot names is needed for ever: a snapshot file is never deleted, also not after a rollback. The danger is the
publisher that finds an object there, which `gc` deletes, before the snapshot that names it is created. So

- a publisher first announces the objects of its coming snapshot (`runs/{run}/merge/naming.txt`), then looks whether one
  of them is claimed, and ends if so; only then it makes those that are not there, creates the snapshot, and withdraws.
- `gc` first claims what it is to delete (`gc/marks.json`, by compare-and-set), then reads all announcements, then the
  numbers of the snapshots, and only then deletes what none of them names.

Each writes before it reads, so one of the two sees the other. If the announcement was written before `gc` read them,
the object is left. If after, the claim is older still: the publisher sees it, or it is settled already; then the object
is gone before the publisher looks for it, and is made again. An announcement that was withdrawn before `gc` read them
gave way to a snapshot, the number of which is read afterwards. No clock is part of this.

The waiting time between mark and claim is for what is not announced: historical shards are adopted before the list is
complete (their publisher looks once more after it), and people may put objects back. A claim whose process died lapses
after LAPSE; a living one stops at half of it, so that no late delete meets an object that was made again.
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta

from resplice.io import conditional, documents, refusals, snapshots
from resplice.io.store import Head, Store, content
from resplice.transforms import provenance
from resplice.transforms.records import Exit, UserError

MARKS = "gc/marks.json"
LAPSE = timedelta(hours=6)
_OBJECT = re.compile(r"objects/sha256/([0-9a-f]{2})/\1[0-9a-f]{62}\.(?:parquet|tar)|probe-[0-9a-f]{32}(?:/.+)?")


@dataclass(frozen=True)
class Mark:
    """An object that no snapshot needed: the version that was seen, since when, and who claimed when to delete it."""

    token: str
    seen: str
    claimed: str = ""
    by: str = ""


Marks = dict[str, Mark]


@dataclass(frozen=True)
class Found:
    """The objects (key → bytes) that nothing needs: not marked yet, marked too short a time ago, due; those deleted."""

    fresh: dict[str, int]
    waiting: dict[str, int]
    due: dict[str, int]
    deleted: dict[str, int] = field(default_factory=dict)


class Needed:
    """The objects that snapshots or announcements name, read again at each `refresh`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._read: set[int] = set()
        self.keys: set[str] = set()
        self.refresh()

    def refresh(self) -> None:
        """Read the announcements, and then the snapshots that were not read yet: in this order."""
        for run in self._store.folders("runs/"):
            self.keys.update(content(self._store, _naming(run))[0].decode().splitlines())
        for number in snapshots.numbers(self._store):
            if number not in self._read:
                self.keys.update(snapshots.load(self._store, number).objects)
                self._read.add(number)


def announce(store: Store, run_id: str, keys: Iterable[str]) -> None:
    """Keep `gc` from some objects until `withdraw`; look for them only afterwards.

    UserError (exit 75) if `gc` is deleting one of them now.
    """
    named = sorted(set(keys))
    refusals.put(store, _naming(run_id), "".join(f"{key}\n" for key in named).encode())
    marks = load(store)
    if claimed := [key for key in named if key in marks and marks[key].claimed]:
        raise UserError(
            f"{store.url}/{claimed[0]} is being deleted by gc since {marks[claimed[0]].claimed}: run the same command "
            f"again when gc has ended (if it was killed: `resplice gc --apply` {LAPSE} later)",
            Exit.AGAIN,
        )


def withdraw(store: Store, run_id: str) -> None:
    """End what `announce` began: the snapshot is there, or will never be."""
    store.delete(_naming(run_id))


def _naming(run_id: str) -> str:
    return f"runs/{run_id}/merge/naming.txt"


def load(store: Store) -> Marks:
    """Return the marks by object key."""
    return _parsed(store, content(store, MARKS)[0])


def _parsed(store: Store, data: bytes) -> Marks:
    values = documents.of(store, MARKS, data) if data else {}
    return {key: Mark(**mark) for key, mark in values.items()}


def _document(marks: Marks) -> bytes:
    return provenance.document({key: asdict(mark) for key, mark in marks.items()})


def look(store: Store, wait: timedelta, now: datetime) -> Found:
    """Return what `clean` would find; change nothing."""
    return _sorted(load(store), _unneeded(store, Needed(store)), wait, now)


def clean(store: Store, wait: timedelta, now: datetime) -> Found:
    """Mark what nothing needs, and delete what was marked `wait` ago, has not changed and is still not needed.

    An object is due only by a mark that an earlier call made. What stops it leaves its claims to lapse.
    """
    by, began = uuid.uuid4().hex, time.monotonic()
    needed, found, mine = Needed(store), Found({}, {}, {}), Marks()

    def claim(data: bytes) -> bytes:
        nonlocal needed, found, mine
        marks, needed = _parsed(store, data), Needed(store)
        unneeded = _unneeded(store, needed)
        found = _sorted(marks, unneeded, wait, now)
        mine = {key: replace(marks[key], claimed=now.isoformat(), by=by) for key in found.due}
        others = {key: mark for key, mark in marks.items() if key in found.waiting or _alive(mark, now)}
        return _document(others | {key: Mark(unneeded[key].token, now.isoformat()) for key in found.fresh} | mine)

    conditional.update(store, MARKS, claim)
    needed.refresh()
    left, deleted = dict(mine), {}
    for key, mark in mine.items():
        if time.monotonic() - began > LAPSE.total_seconds() / 2:
            break
        if key not in needed.keys and _delete(store, key, mark.token):
            deleted[key] = found.due[key]
        left.pop(key)
    conditional.update(store, MARKS, lambda data: _document(_settled(_parsed(store, data), by, left)))
    return replace(found, deleted=deleted)


def _sorted(marks: Marks, unneeded: Mapping[str, Head], wait: timedelta, now: datetime) -> Found:
    found = Found({}, {}, {})
    for key, head in unneeded.items():
        mark = marks.get(key)
        if mark and _alive(mark, now):
            found.waiting[key] = head.size
        elif mark is None or mark.token != head.token:
            found.fresh[key] = head.size
        elif now - datetime.fromisoformat(mark.seen) < wait:
            found.waiting[key] = head.size
        else:
            found.due[key] = head.size
    return found


def _alive(mark: Mark, now: datetime) -> bool:
    """Return whether another process may still be deleting."""
    return bool(mark.claimed) and now - datetime.fromisoformat(mark.claimed) < LAPSE


def _unneeded(store: Store, needed: Needed) -> dict[str, Head]:
    heads = (head for prefix in ("objects/sha256/", "probe-") for head in store.list(prefix))
    return {head.key: head for head in heads if _OBJECT.fullmatch(head.key) and head.key not in needed.keys}


def _delete(store: Store, key: str, token: str) -> bool:
    head = store.head(key)
    if head is None or head.token != token:
        return False
    return conditional.settled(lambda: store.delete(key), lambda: store.head(key) is None)


def _settled(marks: Marks, by: str, left: Collection[str]) -> Marks:
    """Return the marks without our claims; what was left for lack of time stays marked."""
    others = {key: mark for key, mark in marks.items() if mark.by != by}
    return others | {key: replace(mark, claimed="", by="") for key, mark in marks.items() if key in left}

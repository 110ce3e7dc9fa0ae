"""How far the work of a stage has come, told by the files of its run: the same to its own process and to any other.

What a stage counts stands in a ledger: its own, which lasts, or, for steps that keep none, a passing one in which each
worker notes the elements that it is through with (`marked`). A `Gauge` says which one it is, and of how many units.
"""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from resplice.io import ledger
from resplice.io.context import Context
from resplice.io.ledger import Entry
from resplice.io.local import prune
from resplice.io.store import Place, Store
from resplice.transforms import provenance

MARK_EVERY_S = 1.0
_LOAD_SHARE = 20.0  # of the time: a worker marks for at most one part in so many
_DONE, _AGAIN, _SECONDS = "done", "(again)", "(seconds)"  # no reason is spelt like the last two
Tally = dict[str, float]
Work = Callable[[Any], Iterable[Any]]


@dataclass(frozen=True)
class Counts:
    """Where the work of a stage stands: units by outcome, seconds of audio, the moment of the last outcome ("").

    `again` of them have an outcome of an earlier process that this one does not leave at that.
    """

    done: int = 0
    refused: Mapping[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    again: int = 0
    last: str = ""

    @property
    def finished(self) -> int:
        """Return the units of which nothing more is to be expected."""
        return self.done + sum(self.refused.values()) - self.again


@dataclass(frozen=True)
class Gauge:
    """What a process is working on, as its entry in run.json tells it.

    `ledger` is the key prefix of the stage whose ledger counts, `outside` what stands there of other units; outcomes in
    `again` of processes before `seq` are tried again. `before` units were finished when the work began (`at`).
    """

    stage: str
    unit: str
    total: int
    ledger: str
    at: str
    seq: int = 0
    again: tuple[str, ...] = ()
    outside: Mapping[str, float] = field(default_factory=dict)
    before: int = 0

    @property
    def lasting(self) -> bool:
        """Return whether the ledger outlives the stage, so that it tells its end as well."""
        return "/live/" not in self.ledger

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Gauge:
        """Make a gauge from what run.json holds."""
        return cls(**{**value, "again": tuple(value["again"])})


TRIED_AGAIN = {"none": (), "failed": ("refused",), "all": ("refused", "done")}


def by_ledger(
    context: Context, stage: str, units: Collection[str], unit: str = "video", again: str | None = None
) -> Gauge:
    """Return the gauge of a stage that keeps a ledger of its units, of which this process is to see to some.

    `again` tells which outcomes of earlier processes it tries again, as `--retry` does; None: as that was given.
    """
    key, wanted = context.stage(stage), frozenset(units)
    gauge = Gauge(stage, unit, len(wanted), key, provenance.now(), context.run.seq,
                  TRIED_AGAIN[again or context.settings.run.retry])  # fmt: skip
    inside: Tally = defaultdict(float)
    outside: Tally = defaultdict(float)
    for entry in ledger.load(context.workspace.store, key).values():
        _add(inside if entry.unit in wanted else outside, _Kept.of(entry, gauge))
    return replace(gauge, outside=dict(outside), before=_counts(inside, {}).finished)


def by_marks(context: Context, stage: str, total: int, unit: str = "part") -> Gauge:
    """Return the gauge of a stage whose workers mark the elements that they are through with (`marked`)."""
    return Gauge(stage, unit, total, context.passing(stage), provenance.now())


class _Kept(NamedTuple):
    """What counts of a ledger's entry."""

    seq: int
    kind: str
    again: bool
    seconds: float

    @classmethod
    def of(cls, entry: Entry, gauge: Gauge) -> _Kept:
        again = entry.outcome in gauge.again and entry.seq < gauge.seq
        return cls(entry.seq, entry.reason or _DONE, again, 0.0 if entry.reason else entry.counts.get("seconds", 0.0))


def _add(tally: Tally, kept: _Kept, sign: int = 1) -> None:
    tally[kept.kind] += sign
    tally[_AGAIN] += sign * kept.again
    tally[_SECONDS] += sign * kept.seconds


def _counts(tally: Tally, outside: Mapping[str, float], last: str = "") -> Counts:
    inside = {kind: max(count - outside.get(kind, 0), 0) for kind, count in tally.items()}
    done, again, seconds = (inside.pop(kind, 0) for kind in (_DONE, _AGAIN, _SECONDS))
    refused = {kind: int(count) for kind, count in sorted(inside.items()) if count}
    return Counts(int(done), refused, seconds, int(again), last)


class Watch:
    """The counts of a gauge, read from its ledger again and again; only files that changed are read."""

    def __init__(self, store: Store, gauge: Gauge) -> None:
        self._store = store
        self._gauge = gauge
        self._tokens: dict[str, str] = {}
        self._latest: dict[str, _Kept] = {}
        self._tally: Tally = defaultdict(float)
        self._last = ""

    def counts(self) -> Counts:
        """Read the counts."""
        for head in self._store.list(ledger.folder(self._gauge.ledger)):
            if self._tokens.get(head.key) != head.token:
                self._tokens[head.key] = head.token
                with contextlib.suppress(FileNotFoundError):  # its stage has ended and removed it
                    self._take(ledger.read(self._store, head.key))
        return _counts(self._tally, self._gauge.outside, self._last)

    def _take(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            kept, before = _Kept.of(entry, self._gauge), self._latest.get(entry.unit)
            self._last = max(self._last, entry.at)
            if before is None or kept.seq >= before.seq:
                if before is not None:
                    _add(self._tally, before, -1)
                _add(self._tally, kept)
                self._latest[entry.unit] = kept


def marked(context: Context, stage: str, step: str, work: Work, name: Callable[[Any], object] = str) -> Work:
    """Return work that marks each element when it is through with it; `name` tells elements of a step apart.

    A bundle that runs again marks its elements anew, which counts them once.
    """
    return _Marked(context.workspace, context.passing(stage), step, work, name)


def clear(context: Context, gauge: Gauge) -> None:
    """Remove what a stage needed only while it worked, its marks among that; its ledger stays."""
    store, folder = context.workspace.store, context.passing(gauge.stage)
    with _LOCK:
        _PADS.pop((context.workspace, folder), None)
    for head in list(store.list(f"{folder}/")):
        store.delete(head.key)
    prune(context.workspace, folder)


@dataclass(frozen=True)
class _Marked:
    """Work on elements that is noted; picklable as the work is."""

    place: Place
    folder: str
    step: str
    work: Work
    name: Callable[[Any], object]

    def __call__(self, element: Any) -> Iterator[Any]:
        yield from self.work(element)
        with _LOCK:
            pad = _PADS.setdefault((self.place, self.folder), _Pad(self.place, self.folder))
        pad.note(f"{self.step} {self.name(element)}")


class _Pad:
    """What this worker process is through with, written now and then as one small ledger file of its own."""

    def __init__(self, place: Place, folder: str) -> None:
        self._place = place
        self._folder = folder
        self._key = uuid.uuid4().hex
        self._entries: dict[str, Entry] = {}
        self._next = time.monotonic() + MARK_EVERY_S
        self._lock = threading.Lock()

    def note(self, unit: str) -> None:
        with self._lock:
            self._entries[unit] = Entry(unit, _DONE, at=provenance.now())
            began = time.monotonic()
            if began >= self._next:
                ledger.save(self._place.store, self._folder, self._key, self._entries.values())
                took = time.monotonic() - began
                self._next = began + max(MARK_EVERY_S, _LOAD_SHARE * took)


_PADS: dict[tuple[Place, str], _Pad] = {}
_LOCK = threading.Lock()

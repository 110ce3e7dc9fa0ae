"""Who is done, with which fingerprint: the one memory of a stage that a second process trusts.

Entries are kept in one small object a work item (`{stage}/ledger/….jsonl`), changed by compare-and-set; the entry of a
unit with the highest `seq` (the number of the process within the run) counts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

from resplice.io import conditional, documents
from resplice.io.store import Store, mapped
from resplice.transforms import provenance
from resplice.transforms.records import Refusal

EVERY_S = 1.0
_READ: dict[tuple[Store, str], tuple[str, tuple[Entry, ...]]] = {}


@dataclass(frozen=True)
class Entry:
    """The latest outcome of one unit: `done` or `refused`, for the inputs that `fingerprint` names.

    `inputs` remembers input digests under their version tokens ({name: [token, sha256]}); `counts` is what the
    progress and the summary of the work show (segments, seconds of audio).
    """

    unit: str
    outcome: str
    fingerprint: str = ""
    seq: int = 0
    reason: str = ""
    detail: str = ""
    segment: str = ""
    at: str = ""
    inputs: dict[str, Any] = field(default_factory=dict)
    counts: dict[str, float] = field(default_factory=dict)

    @classmethod
    def refused(cls, unit: str, refusal: Refusal, fingerprint: str, seq: int, **more: Any) -> Entry:
        """Make the entry of a refusal, at this moment."""
        return cls(unit, "refused", fingerprint, seq, str(refusal.reason), refusal.detail, refusal.segment,
                   provenance.now(), **more)  # fmt: skip

    def done_after_all(self, seq: int) -> Entry:
        """Return the entry of a unit that was refused, but whose artifact of before is right again."""
        return replace(self, outcome="done", seq=seq, reason="", detail="", segment="", at=provenance.now())

    def same_as(self, other: Entry) -> bool:
        """Return whether another entry tells the same outcome, whenever it was."""
        return replace(self, seq=0, at="") == replace(other, seq=0, at="")


def remembered(before: Entry | None, name: str, token: str) -> list[str] | None:
    """Return [token, sha256] of an input that was hashed under this version token before, else None."""
    known = before.inputs.get(name) if before else None
    return list(known) if known and known[0] == token else None


def folder(stage: str) -> str:
    """Return the key prefix of a stage's ledger, e.g. `runs/R/repair` → `runs/R/repair/ledger/`."""
    return f"{stage}/ledger/"


def load(store: Store, stage: str) -> dict[str, Entry]:
    """Return the latest entry of every unit of a stage."""
    entries: dict[str, Entry] = {}
    for found in mapped(store, lambda head: _known(store, head.key, head.token), store.list(folder(stage))):
        _take(entries, found)
    return entries


def _known(store: Store, key: str, token: str) -> tuple[Entry, ...]:
    """Return the entries of one version of an object: the stages of a process read the same ledgers again and again."""
    known, entries = _READ.get((store, key), ("", ()))
    if known != token:
        entries = tuple(read(store, key))
        _READ[store, key] = token, entries
    return entries


def read(store: Store, key: str) -> Iterator[Entry]:
    """Return the entries of one work item's object. FileNotFoundError without one."""
    return _parsed(store, key, store.read(key))


@contextmanager
def entering(store: Store, stage: str, item: str, entries: Mapping[str, Entry]) -> Iterator[Callable[[], None]]:
    """Give a function that enters the outcomes so far of one work item, at most once a second; in the end all are.

    A process that is killed repeats at most the work of that second. R2 takes one write a second of an object.
    """
    last = time.monotonic()

    def enter() -> None:
        nonlocal last
        if time.monotonic() - last >= EVERY_S:
            save(store, stage, item, entries.values())
            last = time.monotonic()

    try:
        yield enter
    except BaseException:
        with suppress(Exception):  # what ended the work is told
            save(store, stage, item, entries.values())
        raise
    save(store, stage, item, entries.values())


def save(store: Store, stage: str, item: str, entries: Iterable[Entry]) -> None:
    """Enter the outcomes of one work item beside those of another process of the run, which are not lost."""
    key, mine = f"{folder(stage)}{item}.jsonl", list(entries)

    def entered(before: bytes) -> bytes:
        latest: dict[str, Entry] = {}
        _take(latest, _parsed(store, key, before))
        _take(latest, mine)
        return provenance.jsonl(vars(latest[unit]) for unit in sorted(latest))

    conditional.update(store, key, entered)


def _parsed(store: Store, key: str, data: bytes) -> Iterator[Entry]:
    return (Entry(**value) for value in documents.lines(store, key, data))


def _take(latest: dict[str, Entry], entries: Iterable[Entry]) -> None:
    for entry in entries:
        if entry.unit not in latest or entry.seq >= latest[entry.unit].seq:
            latest[entry.unit] = entry

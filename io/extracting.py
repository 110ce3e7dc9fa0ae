"""Work on the units of a corpus, clips or pairs: each on its own, its outcome in the ledger, its result for the driver.

What is expensive is cached by its content and everything that it depends on, so that a process that was killed, or one
with another run id, begins where the results end.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from resplice.io import ledger
from resplice.io.cached import Cache
from resplice.io.context import Context
from resplice.io.ledger import Entry
from resplice.io.local import local_token
from resplice.io.trees import Files
from resplice.transforms import provenance
from resplice.transforms.records import Reason, Refusal
from resplice.transforms.vmaf import Columns

PASSING = (Reason.TIMEOUT, Reason.OUT_OF_MEMORY, Reason.INTERRUPTED, Reason.DRIFTED)
"""Reasons that may not hold the next time."""


@dataclass(frozen=True)
class File:
    """A file of a unit: its path, the SHA-256 of its content, and the version token under which that was taken."""

    path: str
    sha256: str
    token: str

    @classmethod
    def of(cls, path: str, memory: Files) -> File:
        """Return a file as it is now."""
        sha256, stat = memory.file(path)
        return cls(path, sha256, local_token(stat))

    def check(self) -> None:
        """Raise Refusal drifted unless the file still is what was hashed."""
        try:
            token = local_token(os.stat(self.path))  # noqa: PTH116
        except OSError as error:
            raise Refusal(Reason.DRIFTED, f"{self.path}: {error.strerror}") from None
        if token != self.token:
            raise Refusal(Reason.DRIFTED, f"{self.path} changed while it was read")


@dataclass(frozen=True)
class Task:
    """One unit: its name, its files, and what else its work has to know (JSON-able)."""

    unit: str
    files: tuple[File, ...]
    facts: Mapping[str, Any]

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Task:
        """Make a task from what JSON says of it."""
        return cls(value["unit"], tuple(File(**file) for file in value["files"]), value["facts"])


@dataclass(frozen=True)
class Result:
    """The frames of a unit: the columns that could be made, and of each extractor that failed, reason and detail."""

    frames: int
    columns: Columns
    failed: Mapping[str, tuple[str, str]]

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Result:
        """Make a result from what JSON says of it."""
        return cls(value["frames"], value["columns"], {k: tuple(v) for k, v in value["failed"].items()})


Work = Callable[[Task], Result]


def results(context: Context, stage: str) -> Cache:
    """Return where the results of this process's units are, until its stage ends."""
    return Cache(context.workspace, f"{context.passing(stage)}/results/")


@dataclass(frozen=True)
class Extract:
    """Work on units: task → 1. Units that this process is through with are not worked on again. Picklable."""

    context: Context
    stage: str
    work: Work

    def __call__(self, task: Task) -> Iterator[int]:
        """Work on one unit."""
        store, key = self.context.workspace.store, self.context.stage(self.stage)
        item = provenance.sha256(task.unit.encode("utf-8", "surrogateescape"))[:16]
        entries: dict[str, Entry] = {}
        with contextlib.suppress(FileNotFoundError):  # a bundle that runs again
            entries = {entry.unit: entry for entry in ledger.read(store, f"{ledger.folder(key)}{item}.jsonl")}
        known = entries.get(task.unit)
        if known is None or known.seq != self.context.run.seq:
            ledger.save(store, key, item, [self._done(task)])
        yield 1

    def _done(self, task: Task) -> Entry:
        seq, print_ = self.context.run.seq, provenance.sha256(" ".join(file.sha256 for file in task.files).encode())
        try:
            for file in task.files:
                file.check()
            made = self.work(task)
            for file in task.files:
                file.check()
        except Refusal as refusal:
            return Entry.refused(task.unit, refusal, print_, seq)
        results(self.context, self.stage).put({"unit": task.unit}, made.__dict__)
        counts = {"frames": float(made.frames)}
        return Entry(task.unit, "done", print_, seq, at=provenance.now(), counts=counts)

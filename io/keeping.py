"""Keeping the checkpoint of an embedding: what is durable by now goes into the library, then into the checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from resplice.io import ledger, vectors
from resplice.io.checkpoint import COMPLETED, RUNNING, Checkpoint
from resplice.io.embedding import STAGE, Job
from resplice.io.folding import folding
from resplice.io.ledger import Entry
from resplice.io.vectors import Index
from resplice.transforms import provenance
from resplice.transforms.embedding import READ, Decision, Unit


@dataclass
class Keeper:
    """The one writer of a checkpoint in this process."""

    job: Job
    checkpoint: Checkpoint
    every: int
    facts: Mapping[str, Any]
    counters: dict[str, int]
    units: Mapping[str, Unit]
    completed: set[str]
    failed: set[str]
    started_at: str = field(default_factory=provenance.now)
    hours: float = 0.0
    embedded: int = 0
    _seen: dict[str, str] = field(default_factory=dict)
    _logged: set[str] = field(default_factory=set)
    _told: set[str] = field(default_factory=set)
    _pending: list[Entry] = field(default_factory=list)

    @classmethod
    def of(
        cls, job: Job, checkpoint: Checkpoint, every: int, facts: Mapping[str, Any], decision: Decision,
        before: Mapping[str, Any], index: Index,
    ) -> Keeper:  # fmt: skip
        """Make the keeper of a decision; `before` is the checkpoint to go on with, {} for none.

        Completed is what is there: a path whose rows are gone, or of another identity, is none of these any more.
        """
        requested = {unit.key for unit in decision.queued}
        mine = job.identity("")
        kept = {
            key
            for key in before.get("completed_paths", ())
            if key not in requested and (there := index.present.get(key))
            and (there.identity.embedder, there.identity.windows) == (mine.embedder, mine.windows)
        }  # fmt: skip
        kept |= {unit.key for unit in (*decision.checkpoint, *decision.existing)}
        failed = {key for key in before.get("failed_paths", ()) if key not in kept}
        return cls(
            job, checkpoint, every, facts, decision.counters(), {u.key: u for u in decision.queued}, kept, failed
        )

    def begin(self, decision: Decision, index: Index) -> None:
        """Write the checkpoint before anything is embedded; a library that lacks what is there gets it."""
        if self.job.library is not None:
            self._complete_library([*decision.checkpoint, *decision.existing], index)
        self.save(RUNNING)

    def _complete_library(self, units: Sequence[Unit], index: Index) -> None:
        library = self.job.library
        assert library is not None
        known, changes = library.read(), {}
        for unit in units:
            identity, there = self.job.identity(unit.sha256), index.present[unit.key]
            entries = known.entries(unit.key)
            if entries and all(identity.of(entry) and library.has(entry) for entry in entries):
                continue
            found = vectors.matrix(vectors.read(self.job.out.store, there.at))
            size = library.put(identity, found if self.job.windows.many else found[0])
            changes[unit.key] = identity.fields(size, self.job.choice.name, found.shape[1])
        library.enter(changes)

    def keeping(self) -> AbstractContextManager[None]:
        """Keep the checkpoint while the block runs, and what is durable when it ends."""
        return folding(lambda: self._fold(self.every), lambda: self._fold(1))

    def _fold(self, least: int) -> None:
        """Take over the outcomes that are new, if they are at least so many."""
        self._read()
        if len(self._pending) < least:
            return
        entries, self._pending = self._pending, []
        try:
            self._take(entries)
        except BaseException:
            self._pending = entries + self._pending
            raise

    def _read(self) -> None:
        """Read the outcomes that are new, also those of a later process of the run, which replace ours."""
        context = self.job.context
        store = context.workspace.store
        for head in store.list(ledger.folder(context.stage(STAGE))):
            if self._seen.get(head.key) != head.token:
                there = [entry for entry in ledger.read(store, head.key) if entry.seq >= context.run.seq]
                new = [entry for entry in there if entry.unit in self.units and entry.unit not in self._told]
                self._told |= {entry.unit for entry in new}
                self._pending += new
                self._seen[head.key] = head.token

    def _take(self, entries: Sequence[Entry]) -> None:
        done = [entry for entry in entries if entry.outcome == "done"]
        failed = [entry for entry in entries if entry.outcome != "done"]
        if self.job.library is not None:
            self.job.library.enter({entry.unit: self._fields(entry) for entry in done})
        self.checkpoint.log([self._line(entry) for entry in failed if entry.unit not in self._logged])
        self._logged |= {entry.unit for entry in failed}
        completed = self.completed | {entry.unit for entry in done}
        not_done = (self.failed - completed) | {entry.unit for entry in failed}
        counters = dict(self.counters)
        counters["succeeded"] += len(done)
        counters["failed"] += len(failed)
        self._write(RUNNING, counters, completed, not_done)  # one that fails is done again with all of this
        self.counters, self.completed, self.failed = counters, completed, not_done
        self.hours += sum(entry.counts["seconds"] for entry in done) / 3600
        self.embedded += int(sum(entry.counts["embedded"] for entry in done))

    def _fields(self, entry: Entry) -> dict[str, Any]:
        library = self.job.library
        assert library is not None
        identity = self.job.identity(entry.inputs["content"][1])
        size, dim = entry.inputs["vector"]
        return identity.fields(size, self.job.choice.name, dim)

    def _line(self, entry: Entry) -> dict[str, Any]:
        return {
            "timestamp": entry.at, "run_id": self.job.context.run.id, "path": entry.unit,
            "phase": entry.inputs.get("phase", READ), "reason": entry.reason, "error": entry.detail,
            "content_sha256": entry.inputs["content"][1], "size_bytes": entry.inputs["size"],
            "embedder_digest": self.job.choice.digest, "windows": str(self.job.windows),
        }  # fmt: skip

    def save(self, status: str) -> None:
        """Write the checkpoint."""
        self._write(status, self.counters, self.completed, self.failed)

    def _write(self, status: str, counters: Mapping[str, int], completed: set[str], failed: set[str]) -> None:
        self.checkpoint.save({
            "status": status, "run_id": self.job.context.run.id, "started_at": self.started_at,
            "updated_at": provenance.now(), **self.facts, "paths_total": counters["requested"],
            "counters": counters, "completed_paths": sorted(completed), "failed_paths": sorted(failed),
            "failed_log": str(self.checkpoint.failed_log),
        })  # fmt: skip

    def end(self, index: Index) -> int:
        """Write the checkpoint of work that is through, after the quarantine; return how many are in that."""
        mine = self.job.identity("")
        there = [
            (key, present.identity.content)
            for key, present in index.present.items()
            if (present.identity.embedder, present.identity.windows) == (mine.embedder, mine.windows)
        ]
        names = {name for both in there for name in both}
        count = self.checkpoint.keep_quarantined(names, mine.embedder, mine.windows)
        self.save(COMPLETED)
        return count

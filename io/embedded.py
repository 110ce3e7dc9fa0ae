"""Making the outcomes of an item of work durable.

A shard is published as a whole, then the vectors of the library, then the outcomes in the ledger:
whatever a process dies at, what is told done is durable, and what is not told is made again under the same names.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resplice.io import ledger, vectors
from resplice.io.embedding import STAGE, Job, Outcome
from resplice.io.ledger import Entry
from resplice.transforms import provenance, windows
from resplice.transforms.embedding import Item
from resplice.transforms.library import Identity


class Publish:
    """Make the outcomes of an item durable: (item, outcomes) → how many units have their rows."""

    def __init__(self, job: Job) -> None:
        self._job = job

    def __call__(self, made: tuple[Item, list[Outcome]]) -> Iterator[int]:
        """Publish the shard of the item, the library's vectors, then the outcomes."""
        item, found = made
        context = self._job.context
        if self._is_durable(item):  # a bundle that runs again
            return
        good = [outcome for outcome in found if outcome.refusal is None]
        if good:
            self._shard(item, good)
        entries = [entry for outcome in found for entry in self._entries(outcome)]
        ledger.save(context.workspace.store, context.stage(STAGE), item.name, entries)
        yield sum(len(outcome.task.units) for outcome in good)

    def _is_durable(self, item: Item) -> bool:
        """Return whether this process, or a later one of the run, has told the outcome of every unit of an item."""
        context = self._job.context
        try:
            entries = ledger.read(context.workspace.store, f"{ledger.folder(context.stage(STAGE))}{item.name}.jsonl")
            told = {entry.unit for entry in entries if entry.seq >= context.run.seq}
        except FileNotFoundError:
            return False
        return all(unit.key in told for task in item.tasks for unit in task.units)

    def _shard(self, item: Item, good: Sequence[Outcome]) -> None:
        job, run = self._job, self._job.context.run
        rows, flat = _rows(job, good)
        metadata = {
            **run.metadata(), vectors.WRITING: str(job.writing), vectors.EMBEDDER: job.choice.digest,
            vectors.WINDOWS: str(job.windows),
        }  # fmt: skip
        data = vectors.encode(rows, flat, job.of_videos, job.with_results, metadata)
        key = shard_key(job, item)
        vectors.publish(job.out.store, key, data)

    def _entries(self, outcome: Outcome) -> Iterator[Entry]:
        seq, vector = self._job.context.run.seq, self._in_library(outcome)
        for number, unit in enumerate(outcome.task.units):
            inputs = {"content": [unit.token, outcome.sha256], "size": unit.size, "phase": outcome.phase, **vector}
            counts = {"seconds": round(outcome.seconds, 3), "embedded": float(not number and not outcome.task.known)}
            if outcome.refusal is not None:
                yield Entry.refused(unit.key, outcome.refusal, "", seq, inputs=inputs)
            else:
                yield Entry(unit.key, "done", _print(self._job.identity(outcome.sha256)), seq, at=provenance.now(),
                            inputs=inputs, counts=counts)  # fmt: skip

    def _in_library(self, outcome: Outcome) -> dict[str, Any]:
        """Write the vectors of a content where the library will name them; return their size and dimension."""
        library = self._job.library
        if library is None or outcome.refusal is not None:
            return {}
        of = np.stack([vector for _, vector in outcome.vectors])
        size = library.put(self._job.identity(outcome.sha256), of if self._job.windows.many else of[0])
        return {"vector": [size, of.shape[1]]}


def shard_key(job: Job, item: Item) -> str:
    """Return the key of an item's shard; it depends on the plan alone."""
    return f"{vectors.folder(job.writing, job.context.run.id)}/{item.name}.parquet"


def _print(identity: Identity) -> str:
    return provenance.sha256(provenance.line(identity).encode())


def _rows(job: Job, good: Sequence[Outcome]) -> tuple[list[dict[str, Any]], list[NDArray[np.float32]]]:
    """Return the rows of a shard and their vectors: each unit's rows by each other, in the order of the item."""
    rows: list[dict[str, Any]] = []
    flat: list[NDArray[np.float32]] = []
    for outcome in good:
        for unit in outcome.task.units:
            result = unit.result or {}
            for start, vector in outcome.vectors:
                rows.append({
                    "key": windows.row_key(unit.key, start, job.windows.many), "path": unit.key,
                    "video_id": unit.video_id, "segment_file": unit.segment, "content_sha256": outcome.sha256,
                    "embedder": job.choice.name, "embedder_digest": job.choice.digest, "windows": str(job.windows),
                    "start_s": start, "dim": len(vector), "duration_s": outcome.seconds, "sample_rate": outcome.rate,
                    "run_id": job.context.run.id, "status": result.get("status"), "reasons": result.get("reasons"),
                })  # fmt: skip
                flat.append(vector)
    return rows, flat

"""The few records that a pipeline hands back to its driver: one JSON lines file, sorted.

Workers write them in parts, so that no worker and no shuffle has to hold them all; the driver makes one file of these.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from resplice.io import documents, refusals
from resplice.io.context import Context
from resplice.io.spans import Span
from resplice.transforms import provenance

PER_PART = 5000


class Gather:
    """Write the records of a collection (JSON-able, no order) in parts: (part, records) → their number.

    `units` is about how many records there may be; it decides the number of parts.
    """

    def __init__(self, context: Context, stage: str, name: str, units: int = 1) -> None:
        self._context = context
        self._prefix = _prefix(context, stage, name)
        self._parts = 1 + units // PER_PART

    def part(self, record: Any) -> int:
        """Return the part that a record belongs to."""
        return zlib.crc32(provenance.line(record).encode()) % self._parts

    def __call__(self, part: tuple[int, Iterable[Any]]) -> int:
        """Write one part."""
        number, records = part
        lines = sorted(provenance.line(record) for record in records)
        data = "".join(text + "\n" for text in lines).encode()
        self._context.workspace.store.replace(f"{self._prefix}{number:05d}.jsonl", data, None)
        return len(lines)


@dataclass(frozen=True)
class Apart:
    """Work on a span of a list whose records are too large for a shuffle: each span's are a part of their own."""

    work: Callable[[Span], Iterable[Any]]
    gather: Gather

    def __call__(self, span: Span) -> Iterator[int]:
        """Work on a span and write its part."""
        yield self.gather((span[0], self.work(span)))


def collected(context: Context, stage: str, name: str) -> list[Any]:
    """Return the records of the parts that `Gather` wrote, in no order, where no file of them is needed."""
    store = context.workspace.store
    heads = store.list(_prefix(context, stage, name))
    return [record for head in heads for record in documents.load_lines(store, head.key)]


def collect(context: Context, stage: str, name: str) -> None:
    """Make one file of the parts that `Gather` wrote, `{stage}/{name}.jsonl`; before the stage clears them away."""
    store = context.workspace.store
    lines = [line for head in store.list(_prefix(context, stage, name)) for line in store.read(head.key).splitlines()]
    refusals.put(store, _key(context, stage, name), b"".join(line + b"\n" for line in sorted(lines)))


def gathered(context: Context, stage: str, name: str) -> list[dict[str, Any]]:
    """Return the records that were collected."""
    return documents.load_lines(context.workspace.store, _key(context, stage, name))


def _key(context: Context, stage: str, name: str) -> str:
    return f"{context.stage(stage)}/{name}.jsonl"


def _prefix(context: Context, stage: str, name: str) -> str:
    return f"{context.passing(stage)}/gathered/{name}-"

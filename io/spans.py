"""Lists of records that a pipeline's elements name instead of carrying them: JSON lines in the workspace.

What crosses a shuffle, and what the job graph holds, is where a line stands. A list is of one process: it is removed
when the stage ends.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Generic, TypeAlias, TypeVar

from resplice.io import documents
from resplice.io.context import Context
from resplice.io.store import Place
from resplice.transforms import provenance

Span: TypeAlias = tuple[int, int]
"""Some whole lines of a list: their first byte, and their number of bytes."""
PER_SPAN = 1000
"""Records a span, where they are small."""
_T = TypeVar("_T")


@dataclass(frozen=True)
class Lines(Generic[_T]):
    """A list as workers get it; `make` returns the record of a line's value."""

    place: Place
    key: str
    make: Callable[[Any], _T]

    def __call__(self, span: Span) -> Iterator[_T]:
        """Read the records of a span."""
        with contextlib.closing(self.place.store.open(self.key)) as blob:
            data = blob.read_at(*span)
        yield from map(self.make, documents.lines(self.place.store, self.key, data))

    def each(self, work: Callable[[_T], Iterable[Any]]) -> Callable[[Span], Iterator[Any]]:
        """Return work on the records of a span."""
        return _Each(self, work)

    def all(self, work: Callable[[list[_T]], Iterable[Any]]) -> Callable[[Span], Iterator[Any]]:
        """Return work on all records of a span at once."""
        return _All(self, work)


@dataclass(frozen=True)
class _Each(Generic[_T]):
    lines: Lines[_T]
    work: Callable[[_T], Iterable[Any]]

    def __call__(self, span: Span) -> Iterator[Any]:
        for record in self.lines(span):
            yield from self.work(record)


@dataclass(frozen=True)
class _All(Generic[_T]):
    lines: Lines[_T]
    work: Callable[[list[_T]], Iterable[Any]]

    def __call__(self, span: Span) -> Iterator[Any]:
        yield from self.work(list(self.lines(span)))


@dataclass(frozen=True)
class Listing(Generic[_T]):
    """A list that was written, as the driver knows it: its lines, and the spans that are a pipeline's elements."""

    lines: Lines[_T]
    spans: list[Span]


def write(
    context: Context, stage: str, name: str, records: Iterable[Any], make: Callable[[Any], _T], per_span: int = 1
) -> Listing[_T]:
    """Write a list of a stage (JSON-able records) and return it, with `per_span` lines a span."""
    key, spans, start = f"{context.passing(stage)}/{name}.jsonl", list[Span](), 0
    left = iter(records)
    with tempfile.NamedTemporaryFile() as file:
        while part := list(islice(left, per_span)):
            data = provenance.jsonl(part)
            file.write(data)
            spans.append((start, len(data)))
            start += len(data)
        file.flush()
        context.workspace.store.replace(key, Path(file.name), None)
    return Listing(Lines(context.workspace, key, make), spans)

"""Small records dealt into parcels by part: what crosses a shuffle is where a parcel stands in the workspace.

All records of one key belong to one part; a part holds many keys. Parcels are of one process, and are removed with all
else that its stage needs only while it works.
"""

from __future__ import annotations

import contextlib
import json
import uuid
import zlib
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from resplice.io.store import Place

_T = TypeVar("_T")
Where = tuple[str, int, int]
"""The object that holds a parcel, its first byte there, and its length."""
Sent = tuple[str, Hashable, Sequence[Any]]
"""A record (JSON-able), the name of the join that it goes to, and its part there."""


def part_of(key: str, parts: int) -> int:
    """Return the part of a key, the same in every process."""
    return zlib.crc32(key.encode()) % parts


@dataclass(frozen=True)
class Parcels:
    """The parcels of a stage: `folder` is the key prefix below which this process keeps them."""

    place: Place
    folder: str

    def put(self, records: Iterable[Sent]) -> Iterator[tuple[str, tuple[Hashable, Where]]]:
        """Write records, and yield (join, (part, where)) for each of their parcels.

        Each call writes an object of its own, so that a bundle that runs again never changes what was told before.
        """
        piles: dict[tuple[str, Hashable], list[Sequence[Any]]] = defaultdict(list)
        for join, part, record in records:
            piles[join, part].append(record)
        if not piles:
            return
        key, start = f"{self.folder}/parcels/{uuid.uuid4().hex}", 0
        packed = [json.dumps(pile, ensure_ascii=False, separators=(",", ":")).encode() for pile in piles.values()]
        self.place.store.create(key, b"".join(packed))
        for (join, part), data in zip(piles, packed, strict=True):
            yield join, (part, (key, start, len(data)))
            start += len(data)

    def get(self, parcels: Iterable[Where], make: Callable[[list[Any]], _T]) -> Iterator[_T]:
        """Yield the records of some parcels, in no order."""
        for key, start, length in parcels:
            with contextlib.closing(self.place.store.open(key)) as blob:
                yield from map(make, json.loads(blob.read_at(start, length)))

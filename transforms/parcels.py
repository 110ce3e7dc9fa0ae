"""Small records dealt into parcels by part, so that a shuffle carries many of them at once and not each on its own.

All records of one key belong to one part; a part holds many keys.
"""

from __future__ import annotations

import pickle
import zlib
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Any, TypeVar

_T = TypeVar("_T")
_P = TypeVar("_P", bound=Hashable)


def part_of(key: str, parts: int) -> int:
    """Return the part of a key, the same in every process."""
    return zlib.crc32(key.encode()) % parts


def dealt(records: Iterable[_T], part: Callable[[_T], _P]) -> Iterator[tuple[_P, bytes]]:
    """Yield (part, parcel) for each part that has a record; a parcel is bytes, which Beam carries as they are."""
    piles: dict[_P, list[_T]] = defaultdict(list)
    for record in records:
        piles[part(record)].append(record)
    for key, pile in piles.items():
        yield key, pickle.dumps(pile, pickle.HIGHEST_PROTOCOL)


def opened(parcels: Iterable[bytes]) -> Iterator[Any]:
    """Yield the records of parcels that this pipeline packed, in no order."""
    for parcel in parcels:
        yield from pickle.loads(parcel)

"""Ranges of video ids: the partition of the corpus that rows, tars and results share, so that they join shard by shard.

A partition is its ascending upper bounds; range i holds the ids in (bound i−1, bound i], the last one all that follow.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence

MIN_RANGES = 16
MAX_VIDEOS = 1000
MAX_ROWS = 100_000


def partition(weights: Mapping[str, int]) -> tuple[str, ...]:
    """Return the bounds for ids with these numbers of rows: at most 1,000 videos and about 100,000 rows a range, at
    least 16 ranges where there are that many ids. Bounds are ids that are valid UTF-8.
    """
    ids = sorted(weights)
    most = max(1, min(MAX_VIDEOS, len(ids) // MIN_RANGES))
    bounds: list[str] = []
    videos = rows = 0
    for video in ids[:-1]:
        videos, rows = videos + 1, rows + weights[video]
        if (videos >= most or rows >= MAX_ROWS) and video.isprintable():
            bounds.append(video)
            videos = rows = 0
    return tuple(bounds)


def range_of(bounds: Sequence[str], video_id: str) -> int:
    """Return the number of the range that holds an id."""
    return bisect_left(bounds, video_id)


def overlapping(bounds: Sequence[str], after: str | None, until: str | None) -> range:
    """Return the numbers of the ranges that may hold an id in (after, until]."""
    first = 0 if after is None else range_of(bounds, after)
    return range(first, (len(bounds) if until is None else range_of(bounds, until)) + 1)


def limits(bounds: Sequence[str], index: int) -> tuple[str | None, str | None]:
    """Return the (after, until] of a range; None: no bound."""
    return (bounds[index - 1] if index else None, bounds[index] if index < len(bounds) else None)

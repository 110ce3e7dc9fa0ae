"""Which videos are affected, and why."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from resplice.transforms.audit import RowName
from resplice.transforms.records import Reason, Segment

WRONG_TAR = frozenset({Reason.TAR_MISSING, Reason.TAR_UNREADABLE, Reason.MEMBERS_MISSING, Reason.TAR_MISMATCH})
OK, MISSING, UNREADABLE = "ok", "missing", "unreadable"


@dataclass(frozen=True)
class Video:
    """What the plan must know of one video. `results`: live results by segment (passed|failed|error|unjudged)."""

    rows: Sequence[RowName]
    tar: str
    tar_faults: Collection[Reason] = ()
    validation_status: str | None = None
    results: Mapping[Segment, str] = field(default_factory=dict)
    has_run_result: bool = False


def reasons(video: Video, failed_statuses: Collection[str]) -> list[Reason]:
    """Return every reason that holds for a video, sorted; none: it is not affected."""
    found: set[Reason] = set(video.tar_faults) if video.tar == OK else set()
    if video.tar == UNREADABLE:
        found.add(Reason.TAR_UNREADABLE)
    if not video.rows:
        return sorted(found)
    if video.tar == MISSING:
        found.add(Reason.TAR_MISSING)
    tar_right = not found
    if not all(_has_result(row, video.results) for row in video.rows):
        found.add(Reason.VALIDATION_MISSING)
    splits = [row for row in video.rows if row.segment and row.segment.index is not None]
    if splits and not (tar_right and all(_has_result(row, video.results) for row in splits)):
        found.add(Reason.SPLIT_ROWS)
    if video.validation_status in failed_statuses and not video.has_run_result:
        found.add(Reason.VALIDATION_FAILED)
    return sorted(found)


def _has_result(row: RowName, results: Mapping[Segment, str]) -> bool:
    return row.segment is not None and results.get(row.segment, "error") != "error"


def better(one: str | None, other: str | None) -> str | None:
    """Return which of two statuses of one segment counts: a result before an error, then the later (`other`)."""
    if other is None or (other == "error" and one not in (None, "error")):
        return one
    return other


@dataclass(frozen=True)
class Selection:
    """A wave: which of the affected videos are planned."""

    reasons: tuple[str, ...] = ()
    videos: frozenset[str] | None = None
    limit: int | None = None


def select(affected: Mapping[str, Collection[str]], selection: Selection) -> list[str]:
    """Return the planned ids, sorted by code point: those with a wanted reason, among the named ones, and of these
    the first `limit` by SHA-256 of the id.
    """
    chosen = [
        video
        for video, why in affected.items()
        if (not selection.reasons or set(why) & set(selection.reasons))
        and (selection.videos is None or video in selection.videos)
    ]
    if selection.limit is not None:
        chosen = sorted(chosen, key=lambda video: sha256(video.encode()).digest())[: selection.limit]
    return sorted(chosen)


MAX_ITEM_S = 600.0
MIN_ITEMS = 128


def work_items(seconds: Mapping[str, float]) -> list[tuple[str, ...]]:
    """Pack videos into work items of about equal seconds of audio: greedy, longest first, each at most ten minutes
    (one longer video alone), at least 128 items where there are that many videos. Depends on the plan alone.
    """
    count = max(min(MIN_ITEMS, len(seconds)), -(-int(sum(seconds.values())) // int(MAX_ITEM_S)))
    bins: list[tuple[float, int, int]] = [(0.0, 0, index) for index in range(count)]
    items: list[list[str]] = [[] for _ in range(count)]
    for video in sorted(seconds, key=lambda video: (-seconds[video], video)):
        load, held, index = heapq.heappop(bins)
        if held and load + seconds[video] > MAX_ITEM_S:
            heapq.heappush(bins, (load, held, index))
            load, held, index = 0.0, 0, len(items)
            items.append([])
        items[index].append(video)
        heapq.heappush(bins, (load + seconds[video], held + 1, index))
    return [tuple(sorted(item)) for item in items if item]

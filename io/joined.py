"""One range of videos, joined: what the baseline froze of each, and its live results."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from resplice.io.context import Context
from resplice.io.inventory import IndexedRange
from resplice.io.live import LiveRow, Spill, read_spills
from resplice.io.tarstate import RAW
from resplice.transforms.affected import OK
from resplice.transforms.audit import RowName, TarContent
from resplice.transforms.flac import StreamInfo
from resplice.transforms.names import parse_stem, read_row_or_none
from resplice.transforms.records import Segment
from resplice.transforms.replace import HISTORY


@dataclass(frozen=True)
class VideoView:
    """One video of a range: its row of videos.parquet, its DB rows, its raw tar and its live results."""

    id: str
    facts: Mapping[str, Any]
    rows: list[RowName]
    raw: TarContent
    raw_infos: Mapping[str, StreamInfo | None]
    results: list[LiveRow]

    @property
    def raw_names(self) -> frozenset[str] | None:
        """Return the FLAC file names of the readable raw tar; None without one."""
        return frozenset(f"{name}.flac" for name in self.raw.flacs) if self.facts["raw_tar"] == OK else None

    def by_segment(self) -> Iterator[tuple[Segment | None, LiveRow]]:
        """Yield each live result with the segment that it names."""
        names = self.raw_names
        for result in self.results:
            yield segment_of(result, names), result


def segment_of(result: LiveRow, raw_names: frozenset[str] | None) -> Segment | None:
    """Return the segment that a live result names: results of runs hold stems, historical ones are read as rows."""
    if result.name is None:
        return None
    return read_row_or_none(result.name, raw_names) if result.origin == HISTORY else parse_stem(result.name)


class JoinedRange:
    """The videos of one range, sorted; `strays` counts the live results of videos that the baseline did not know."""

    def __init__(self, context: Context, index: int, spills: Iterable[Spill]) -> None:
        self.index = IndexedRange(context, index)
        self._results: dict[str, list[LiveRow]] = {}
        for result in read_spills(context.workspace.store, spills):
            self._results.setdefault(result.video_id, []).append(result)
        self._facts = self.index.videos()
        self.strays = sum(map(len, self._results.values())) - sum(
            len(self._results.get(facts["video_id"], ())) for facts in self._facts
        )

    def __iter__(self) -> Iterator[VideoView]:
        """Yield the videos."""
        rows, raw = self.index.rows(), self.index.tars(RAW)
        for facts in self._facts:
            id_ = facts["video_id"]
            content, infos = raw.get(id_, (TarContent(), {}))
            yield VideoView(id_, facts, rows.get(id_, []), content, infos, self._results.get(id_, []))

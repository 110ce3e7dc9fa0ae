"""One range of videos, joined: what the baseline froze of each, and its live results.

The range is read by column; `views` gives single videos as records, for those that need a closer look.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from resplice.io.context import Context
from resplice.io.inventory import IndexedRange
from resplice.io.live import LiveRow, Spill, read_spills, rows_of
from resplice.io.tarstate import RAW, TRANSCRIBED
from resplice.transforms import settled
from resplice.transforms.affected import OK
from resplice.transforms.audit import RowName, TarContent
from resplice.transforms.flac import StreamInfo
from resplice.transforms.names import parse_stem, read_row_or_none
from resplice.transforms.records import Segment
from resplice.transforms.replace import HISTORY
from resplice.transforms.settled import Settled

_NO_RESULTS = pa.schema([(name, pa.string()) for name in ("video_id", "stem", "status", "reasons")]).empty_table()


@dataclass(frozen=True)
class VideoView:
    """One video of a range: its row of videos.parquet, its DB rows, its tars and its live results."""

    id: str
    facts: Mapping[str, Any]
    rows: list[RowName]
    raw: TarContent
    raw_infos: Mapping[str, StreamInfo | None]
    transcribed: TarContent
    transcribed_infos: Mapping[str, StreamInfo | None]
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
    """The videos of one range, by column: `facts` (a row a video, sorted), `rows`, `results` with their stems.

    `strays` counts the live results of videos that the baseline did not know.
    """

    def __init__(self, context: Context, index: int, spills: Iterable[Spill]) -> None:
        self._context = context
        self._index = index
        self._batches = read_spills(context.workspace.store, spills)
        self._whole = IndexedRange(context, index)
        self.facts = self._whole.read("index", "-videos")
        self.rows = self._whole.rows_table("video_id", "segment_file")
        raw = self._whole.read("index", f"-{RAW}", ["video_id", "split_like"])
        odd = raw.filter(raw["split_like"])["video_id"].combine_chunks()
        self.results = pa.concat_tables([_NO_RESULTS, *(_with_stems(*one, odd) for one in self._batches)])
        self.strays = int((~settled.within(self.results["video_id"], self.ids)).sum())

    @property
    def ids(self) -> pa.ChunkedArray:
        """Return the ids of the videos."""
        return self.facts["video_id"]

    @cached_property
    def settled(self) -> Settled:
        """Return which videos are settled."""
        return settled.settle(self.ids, self.rows, self.results)

    def right_tars(self) -> np.ndarray:
        """Return which videos have a readable transcribed tar of just the members that their rows want."""
        return settled.right_tars(self.ids, self.rows, self._whole.read("index", f"-{TRANSCRIBED}"))

    def views(self, wanted: np.ndarray) -> Iterator[VideoView]:
        """Yield some of the videos, sorted; `wanted` tells of each whether it is one of them."""
        videos = self.ids.filter(pa.array(wanted)).combine_chunks()
        if not len(videos):
            return
        part = IndexedRange(self._context, self._index, videos)
        rows, raw, transcribed = part.rows(), part.tars(RAW), part.tars(TRANSCRIBED)
        results: dict[str, list[LiveRow]] = {}
        for spill, batch in self._batches:
            for result in rows_of(spill, batch.filter(pc.is_in(batch["video_id"], value_set=videos))):
                results.setdefault(result.video_id, []).append(result)
        nothing: tuple[TarContent, Mapping[str, StreamInfo | None]] = (TarContent(), {})
        for facts in part.videos():
            id_ = facts["video_id"]
            yield VideoView(id_, facts, rows.get(id_, []), *raw.get(id_, nothing), *transcribed.get(id_, nothing),
                            results.get(id_, []))  # fmt: skip


def _with_stems(spill: Spill, batch: pa.RecordBatch, odd: pa.Array) -> pa.Table:
    """Return results with their stems, null where they are not told by column; `odd` videos have raw FLACs that are
    named as splits are.
    """
    stems = batch["segment_file"]
    if spill.origin == HISTORY:
        stems, unsure = settled.plain_stems(stems)
        if pc.any(unsure).as_py():
            stems = pc.if_else(pc.and_(unsure, pc.is_in(batch["video_id"], value_set=odd)), None, stems)
    return pa.table([batch["video_id"], stems, batch["status"], batch["reasons"]], schema=_NO_RESULTS.schema)

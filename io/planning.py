"""Which videos of one range are affected: the index, the live results and the repaired tars of earlier runs, joined."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from resplice.io.context import Context
from resplice.io.inventory import RAW, TRANSCRIBED, IndexedRange, TarState, open_tar
from resplice.io.live import LiveRow, Spill, read_spills
from resplice.transforms import audit
from resplice.transforms.affected import OK, Video, better, reasons
from resplice.transforms.audit import RowName, TarContent
from resplice.transforms.names import parse_stem, read_row_or_none
from resplice.transforms.records import Reason, Segment, valid_video_id
from resplice.transforms.replace import HISTORY, Tar


class FindAffected:
    """Yield a record for each affected or refused video of a range.

    Takes (range, {"range": [...], "spills": [Spill], "tars": [(video_id, Tar)]}); `tars` are the repaired tars that the
    base snapshot names.
    """

    def __init__(self, context: Context) -> None:
        self._context = context

    def __call__(self, joined: tuple[int, dict[str, Iterable[Any]]]) -> Iterator[dict[str, Any]]:
        """Find the affected videos."""
        index, sides = joined
        if not list(sides["range"]):
            return
        indexed = IndexedRange(self._context, index)
        spills: list[Spill] = list(sides["spills"])
        tars: dict[str, Tar] = dict(sides["tars"])
        rows, raw, transcribed = indexed.rows(), indexed.tars(RAW), indexed.tars(TRANSCRIBED)
        results = _by_video(read_spills(self._context.workspace.store, spills))
        for video in indexed.videos():
            id_ = video["video_id"]
            if not valid_video_id(id_):
                yield {"video_id": id_, "refused": Reason.BAD_NAME, "rows": video["rows"], "reasons": []}
                continue
            raw_content, raw_infos = raw.get(id_, (TarContent(), {}))
            raw_names = frozenset(f"{n}.flac" for n in raw_content.flacs) if video["raw_tar"] == OK else None
            tar = self._tar(video, transcribed, tars.get(id_))
            why = self._reasons(video, rows.get(id_, []), tar, raw_names, results.get(id_, []))
            if why:
                seconds = [info.duration_s or 0.0 for info in raw_infos.values() if info]
                with_rows = {row.segment.original for row in rows.get(id_, []) if row.segment}
                yield {
                    "video_id": id_,
                    "reasons": [str(reason) for reason in why],
                    "rows": video["rows"],
                    "raw_bytes": video["raw_bytes"],
                    "audio_s": sum(seconds) if video["raw_tar"] == OK else None,
                    "originals_without_rows": len(set(raw_content.flacs) - with_rows),
                }

    def _tar(self, video: Mapping[str, Any], indexed: Mapping[str, Any], repaired: Tar | None) -> TarState:
        """Return the tar that counts: the one the snapshot names, else the one in the corpus."""
        if repaired is not None:
            return open_tar(self._context.workspace.store, repaired.key, video["video_id"], TRANSCRIBED)
        content, infos = indexed.get(video["video_id"], (TarContent(), {}))
        return TarState(video["transcribed_tar"], content=content, infos=infos)

    def _reasons(
        self, video: Mapping[str, Any], rows: Sequence[RowName], tar: TarState,
        raw_names: frozenset[str] | None, results: Sequence[LiveRow],
    ) -> list[Reason]:  # fmt: skip
        faults: set[Reason] = set()
        if tar.state == OK:
            reading = audit.read_names(tar.content, rows, raw_names)
            faults = audit.faults(tar.content, reading, rows, tar.infos or {})
        facts = Video(rows, tar.state, faults, video["validation_status"], statuses(results, raw_names),
                      any(result.origin != HISTORY for result in results))  # fmt: skip
        return reasons(facts, self._context.settings.plan.failed_statuses)


def _by_video(results: Iterable[LiveRow]) -> dict[str, list[LiveRow]]:
    found: dict[str, list[LiveRow]] = {}
    for result in results:
        found.setdefault(result.video_id, []).append(result)
    return found


def segment_of(result: LiveRow, raw_names: frozenset[str] | None) -> Segment | None:
    """Return the segment that a live result names: results of runs hold stems, historical ones are read as rows."""
    if result.name is None:
        return None
    return read_row_or_none(result.name, raw_names) if result.origin == HISTORY else parse_stem(result.name)


def statuses(results: Iterable[LiveRow], raw_names: frozenset[str] | None) -> dict[Segment, str]:
    """Return the status that counts of each segment with a live result."""
    found: dict[Segment, str] = {}
    for result in results:
        segment = segment_of(result, raw_names)
        if segment is not None:
            found[segment] = better(found.get(segment), result.status) or result.status
    return found

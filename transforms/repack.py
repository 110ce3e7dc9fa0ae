"""From regenerated segments and rows to the members of a repaired tar."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from resplice.transforms import provenance
from resplice.transforms.audit import RowName, differs, in_stem_order
from resplice.transforms.names import stem
from resplice.transforms.records import Reason, Refusal, Segment

_SHOWN = 5


@dataclass(frozen=True)
class Piece:
    """One regenerated segment: how long it is, and where it lies in its original, in seconds (None: the splitter
    changed the samples).
    """

    segment: Segment
    start_s: float | None
    end_s: float | None
    duration_s: float


def number_pieces(original: str, count: int) -> list[Segment]:
    """Return the segments of an original cut into `count` pieces: one piece is no split."""
    return [Segment(original)] if count == 1 else [Segment(original, index) for index in range(count)]


def check_names(rows: Sequence[RowName], bad: Iterable[Refusal]) -> None:
    """Raise the refusal no_rows, bad_name or name_collision, the first that holds."""
    if not rows:
        raise Refusal(Reason.NO_ROWS, "the database has no row of this video")
    for refusal in bad:
        raise refusal
    seen: dict[Segment, str] = {}
    for row in rows:
        if row.segment is None:
            continue
        if row.segment in seen:
            both = f"{seen[row.segment]!r} and {row.segment_file!r} are both {stem(row.segment)}"
            raise Refusal(Reason.NAME_COLLISION, both, stem(row.segment))
        seen[row.segment] = row.segment_file


def originals_without_rows(raw_names: Iterable[str], rows: Sequence[RowName]) -> list[str]:
    """Return the originals of a raw tar none of whose pieces has a row, sorted."""
    with_rows = {row.segment.original for row in rows if row.segment}
    return sorted(set(raw_names) - with_rows)


def check_segments(pieces: Collection[Segment], rows: Sequence[RowName]) -> None:
    """Raise the refusal segment_mismatch unless the regenerated segments are exactly the rows' segments."""
    wanted, have = {row.segment for row in rows if row.segment}, set(pieces)
    if wanted == have:
        return
    sides = [
        f"{title}: {_some(sorted(side, key=lambda s: s.order))}"
        for title, side in (("rows without audio", wanted - have), ("audio without rows", have - wanted))
        if side
    ]
    first = min(wanted ^ have, key=lambda s: s.order)
    raise Refusal(Reason.SEGMENT_MISMATCH, "; ".join(sides), stem(first))


def check_durations(pieces: Mapping[Segment, Piece], rows: Sequence[RowName], tolerance_s: float) -> None:
    """Raise the refusal duration_mismatch if a row's duration and its audio's differ by more than the tolerance."""
    for segment, row in in_stem_order(rows):
        have = pieces[segment].duration_s
        if differs(have, row.duration_s, tolerance_s):
            detail = f"{stem(segment)}: audio {have:.3f} s, row {row.duration_s:.3f} s, tolerance {tolerance_s} s"
            raise Refusal(Reason.DURATION_MISMATCH, detail, stem(segment))


def _some(segments: Sequence[Segment]) -> str:
    names = [stem(segment) for segment in segments[:_SHOWN]]
    more = f" and {len(segments) - _SHOWN} more" if len(segments) > _SHOWN else ""
    return ", ".join(names) + more


def segment_object(video_id: str, row: RowName, piece: Piece, columns: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the JSON of a segment says; `columns` is the whole row."""
    return {
        "video_id": video_id,
        "segment_file": row.segment_file,
        "stem": stem(piece.segment),
        "original": piece.segment.original,
        "split_index": piece.segment.index,
        "start_s": piece.start_s,
        "end_s": piece.end_s,
        "row": dict(columns),
    }


def segment_json(segment: dict[str, Any]) -> bytes:
    """Return the JSON file of a segment: the default of `[repair] json`."""
    return provenance.document(segment)


def member_names(video_id: str, segment_stem: str) -> tuple[str, str]:
    """Return the names of a segment's FLAC and JSON in the tar of its video."""
    return f"{video_id}/segments/{segment_stem}.flac", f"{video_id}/transcriptions/{segment_stem}.json"


def tar_name(video_id: str) -> str:
    """Return the file name of a video's transcribed tar."""
    return f"{video_id}_transcribed.tar"

"""Show one video: its rows, raw tar, transcribed tar, old and new results, side by side by stem.

    resplice inspect some_video --run-id recovery-a

Reads   the rows, both tars (headers only), the repaired tar, all results, and what the run wrote.
Writes  nothing. A broken tar or shard is shown; a video that no place knows is exit 2.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from resplice.io.context import Context
from resplice.io.inspection import Found, Inspection, Tarred, inspect
from resplice.io.joined import segment_of
from resplice.io.tarstate import TarState
from resplice.pipelines.show import cell, table
from resplice.transforms.affected import OK
from resplice.transforms.flac import StreamInfo
from resplice.transforms.names import parse_stem, stem
from resplice.transforms.records import Exit, Segment, UserError
from resplice.transforms.replace import HISTORY

_TEXT = 40
_MD5 = 8
BAD = "(bad_name)"


def show(context: Context, video_id: str) -> int:
    """Print what all places tell of a video."""
    found = inspect(context, video_id)
    if not found.known:
        raise UserError(
            f"no video {video_id!r}: it is not in the database, the tars or the results"
            + "".join(f"\n{cell(note)}" for note in found.notes)
        )
    _head(found, context.run.id)
    table(*side_by_side(found))
    return Exit.DONE


def _head(found: Inspection, run_id: str) -> None:
    lines = [
        f"video {found.video_id}: {len(found.rows)} rows, validation_status {found.status}",
        f"raw tar: {_state(found.raw)}",
        f"transcribed tar: {_verdict(found.transcribed)}",
    ]
    if found.repaired:
        lines.append(f"repaired tar ({found.repaired_by}): {_verdict(found.repaired)}")
    if run_id:
        lines += [f"run {run_id}: {text}" for text in found.outcomes or ["not planned"]]
    for line in [*lines, *(f"not readable: {note}" for note in found.notes)]:
        print(cell(line.replace("\n", " ")))


def _state(tar: TarState) -> str:
    if tar.state != OK:
        return f"{tar.state}: {tar.detail}" if tar.detail else tar.state
    jsons = f", {len(tar.content.jsons)} JSON" if tar.content.jsons else ""
    return f"ok, {tar.bytes} bytes, {len(tar.content.flacs)} FLAC{jsons}"


def _verdict(tarred: Tarred) -> str:
    if tarred.tar.state != OK:
        return _state(tarred.tar)
    fits = "it fits the rows" if not tarred.wrong else "it does not fit the rows: " + ", ".join(tarred.wrong)
    extra = "".join(f"; extra member {name}" for name in tarred.tar.content.extra)
    return f"{_state(tarred.tar)}; {fits}{extra}"


def side_by_side(found: Inspection) -> tuple[list[str], list[list[str]]]:
    """Return the columns and the lines of the table: one line a segment that any place knows, in stem order; what has
    no segment (a name that cannot be read) comes last.
    """
    columns = {
        "row in the database": _rows(found),
        "raw": _raw(found),
        "transcribed": _members(found.transcribed),
        "repaired": _members(found.repaired) if found.repaired else None,
        "old result": _results(found, history=True),
        "new result": _results(found, history=False),
        "coverage": _coverage(found) if found.coverage else None,
    }
    shown = {name: cells for name, cells in columns.items() if cells is not None}
    segments = {segment for cells in shown.values() for segment in cells}
    split = {segment.original for segment in segments if segment and segment.index is not None}
    raw_only = {Segment(original) for original in split} - {s for n, c in shown.items() if n != "raw" for s in c if s}
    order = sorted((s for s in segments - raw_only if s), key=lambda s: s.order)
    lines: list[Segment | None] = [*order, *([None] if None in segments else [])]
    return ["stem", *shown], [
        [stem(segment) if segment else BAD, *(_cell_of(name, cells, segment) for name, cells in shown.items())]
        for segment in lines
    ]


def _cell_of(name: str, cells: Mapping[Segment | None, list[str]], segment: Segment | None) -> str:
    """Return a cell; the raw tar has one member for all splits of an original."""
    if name == "raw" and segment:
        segment = Segment(segment.original)
    return "\n".join(cells.get(segment, ["-"]))


def _rows(found: Inspection) -> dict[Segment | None, list[str]]:
    cells: dict[Segment | None, list[str]] = {}
    for name in found.names:
        row = found.rows[name.id]
        text = row.transcription if len(row.transcription) <= _TEXT else row.transcription[:_TEXT] + "…"
        duration = "no duration" if row.duration_s is None else f"{row.duration_s:.3f} s"
        lines = [f"{row.id}: {name.segment_file}", duration, " ".join(text.split())]
        cells.setdefault(name.segment, []).extend(lines)
    return cells


def _raw(found: Inspection) -> dict[Segment | None, list[str]]:
    infos = found.raw.infos or {}
    return {Segment(name): _audio(infos.get(name)) for name in found.raw.content.flacs if name}


def _audio(info: StreamInfo | None) -> list[str]:
    if info is None:
        return ["no STREAMINFO"]
    length = "no length" if info.duration_s is None else f"{info.duration_s:.3f} s"
    return [length, f"{info.rate} Hz", info.md5[:_MD5] if info.md5_known else "no MD5"]


def _members(tarred: Tarred | None) -> dict[Segment | None, list[str]]:
    cells: dict[Segment | None, list[str]] = {}
    if tarred is None or tarred.reading is None:
        return cells
    infos = tarred.tar.infos or {}
    for name, segment in tarred.reading.flacs.items():
        cells.setdefault(segment, []).extend([*([name] if segment is None else []), *_audio(infos.get(name))])
    for name, segment in tarred.reading.jsons.items():
        cells.setdefault(segment, []).append("JSON" if segment else f"JSON {name}")
    return cells


def _results(found: Inspection, history: bool) -> dict[Segment | None, list[str]]:
    cells: dict[Segment | None, list[str]] = {}
    for result in found.results:
        if (result.row.origin == HISTORY) == history:
            segment = segment_of(result.row, found.raw.names)
            cells.setdefault(segment, []).extend(_result(result, named=segment is None))
    return cells


def _result(result: Found, named: bool) -> Iterable[str]:
    row = result.row
    yield f"{row.status} ({result.note})" if result.note else row.status
    if named:
        yield str(row.name)
    yield from row.reasons
    if row.origin != HISTORY:
        yield row.run_id


def _coverage(found: Inspection) -> dict[Segment | None, list[str]]:
    cells: dict[Segment | None, list[str]] = {}
    for row in found.coverage:
        segment = parse_stem(row["stem"]) if row["stem"] else None
        cells.setdefault(segment, []).extend(filter(None, [row["bucket"], row.get("status"), row.get("reason")]))
    return cells

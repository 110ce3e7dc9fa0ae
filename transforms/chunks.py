"""The state of one book in pipeline.json, as the files of many versions hold it: its rows, what is valid, its sums.

An entry is `phase4.files[id]`, a row one element of its `chunks`: plain JSON values, of which only the keys named here
are known, and all others are kept. Chunks are numbered from 1.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

Row = dict[str, Any]
Entry = Mapping[str, Any]

SUCCESS, FAILED, PARTIAL = "success", "failed", "partial"
MISSING_TEXT, EMPTY_TEXT, UNDECODABLE_TEXT = "missing_text", "empty_text", "undecodable_text"
BAD_TEXTS = (MISSING_TEXT, EMPTY_TEXT, UNDECODABLE_TEXT)
NO_ROW, NOT_MADE, TEXT_CHANGED = "no_row", "not_made", "text_changed"
MISSING_AUDIO, EMPTY_AUDIO, UNREADABLE_AUDIO = "missing_audio", "empty_audio", "unreadable_audio"
NO_ENGINE = frozenset({*BAD_TEXTS, NO_ROW, NOT_MADE, TEXT_CHANGED, MISSING_AUDIO, EMPTY_AUDIO, UNREADABLE_AUDIO, ""})
_ID = re.compile(r"(?:chunk[_-]?)?0*(\d{1,18})", re.IGNORECASE)
_WORD = re.compile(r"[\w.-]{1,64}")


def chunk_id(number: int) -> str:
    """Return the id of a chunk: `chunk_0001`, wider where four digits do not do."""
    return f"chunk_{number:04d}"


def number_of(id_: Any) -> int | None:
    """Return the number that a chunk id of any version means: 10, "10", "chunk_0010", "chunk-00010"; None: none."""
    if isinstance(id_, int) and not isinstance(id_, bool):
        return id_
    match = _ID.fullmatch(id_) if isinstance(id_, str) else None
    return int(match[1]) if match else None


def all_rows(entry: Entry | None) -> list[Any]:
    """Return what stands in `chunks`, whatever it is."""
    rows = (entry or {}).get("chunks")
    return rows if isinstance(rows, list) else []


def rows_of(entry: Entry | None, count: int) -> dict[int, Row]:
    """Return the row of each expected chunk 1 … `count`; of two rows of one chunk a failed one wins, and one of
    success loses; else the later one does.
    """
    rows: dict[int, Row] = {}
    for row in all_rows(entry):
        number = _expected(row, count)
        if number and _rank(row) >= _rank(rows.get(number, row)):
            rows[number] = row
    return rows


def _rank(row: Row) -> int:
    status = row.get("status")
    return 2 if status == FAILED else 0 if status == SUCCESS else 1


def _expected(row: Any, count: int) -> int | None:
    number = number_of(row.get("chunk_id")) if isinstance(row, dict) else None
    return number if number is not None and 1 <= number <= count else None


def why(row: Row | None, text: str, listing: Mapping[str, str]) -> str:
    """Return why a chunk is not valid, "" for a valid one; the arguments are those of `collect_failed_chunks`."""
    if text in BAD_TEXTS:
        return text
    if row is None:
        return NO_ROW
    if row.get("text_sha256") not in (None, "", text):
        return TEXT_CHANGED
    if row.get("status") == FAILED:
        return _failure(row.get("validation_reason"))
    if row.get("status") != SUCCESS:
        return NOT_MADE
    path = row.get("audio_path")
    return listing.get(path, MISSING_AUDIO) if isinstance(path, str) else MISSING_AUDIO


def _failure(reason: Any) -> str:
    """Return the reason that a failed row gives, as one word; "not_made" if that was none of an engine."""
    if not isinstance(reason, str) or not _WORD.fullmatch(reason):
        return FAILED
    return NOT_MADE if reason in NO_ENGINE else reason


def failed_by_an_engine(row: Row) -> bool:
    """Return whether a row says that an engine failed the chunk."""
    return row.get("status") == FAILED and of_an_engine(_failure(row.get("validation_reason")))


def attempts(row: Row) -> int:
    """Return how many engines were asked for a chunk before, by its row."""
    said = row.get("attempts")
    return said if isinstance(said, int) else 0


def of_an_engine(reason: str) -> bool:
    """Return whether a reason of `why` tells that an engine failed the chunk."""
    return reason not in NO_ENGINE


def merged(entry: Entry | None, made: Mapping[int, Row], count: int) -> dict[str, Any]:
    """Return the entry with new rows for some chunks: expected ones in order, then the others as they stood.

    A new row takes the place of the old one, whose unknown keys it keeps; no row is lost.
    """
    rows = rows_of(entry, count)
    for number, row in made.items():
        rows[number] = {**rows.get(number, {}), **row}
    others = [row for row in all_rows(entry) if _expected(row, count) is None]
    return {**(entry or {}), "chunks": [*(rows[number] for number in sorted(rows)), *others]}


def settled(entry: Entry, open_: Mapping[int, tuple[str, str]], count: int, audio_dir: str) -> dict[str, Any]:
    """Return the entry with its sums drawn from the rows: status, paths, metrics, errors, engines and voices.

    `open_` are the expected chunks that are not valid, with reason and detail; `audio_dir` is where their audio goes.
    """
    rows = rows_of(entry, count)
    good = [rows[number] for number in sorted(rows) if number not in open_]
    paths = [row.get("audio_path") for row in good]
    others = [error for error in _list(entry, "errors") if _expected(error, count) is None]
    errors = [{"chunk_id": chunk_id(n), "message": f"{why_}: {detail}" if detail else why_}
              for n, (why_, detail) in sorted(open_.items())]  # fmt: skip
    return {
        **entry,
        "status": SUCCESS if not open_ else PARTIAL if len(open_) < count else FAILED,
        "chunk_audio_paths": paths,
        "artifacts": {**_dict(entry, "artifacts"), "audio_dir": audio_dir, "chunk_audio_paths": paths},
        "metrics": {**_dict(entry, "metrics"), "total_chunks": count, "chunks_completed": count - len(open_),
                    "chunks_failed": len(open_)},
        "errors": [*errors, *others],
        "engines_used": _used(good, "engine"),
        "voices_used": _used(good, "voice"),
    }  # fmt: skip


def audio_dir(entry: Entry | None, file_id: str) -> str:
    """Return the folder of a book's audio: what `artifacts.audio_dir` says, else the usual one beside pipeline.json."""
    given = _dict(entry or {}, "artifacts").get("audio_dir")
    return given if isinstance(given, str) and given else f"audio/{file_id}"


def targets(
    folders: Mapping[str, str], todo: Iterable[tuple[str, int]], taken: Mapping[str, tuple[str, int]],
    real: Callable[[str], str],
) -> dict[tuple[str, int], str]:  # fmt: skip
    """Return the path of the audio of each chunk (file_id, number) to do: `{folder}/chunk_0001.wav`.

    `taken` are the paths (as `real` spells them) of valid chunks, which may be shifted against their numbers, or those
    of another book in the same folder: no other chunk gets such a path, but a name of its own.
    """
    found, owners = dict[tuple[str, int], str](), dict(taken)
    for unit in todo:
        stem, suffix, count = f"{folders[unit[0]].rstrip('/')}/{chunk_id(unit[1])}", "", 1
        while owners.setdefault(real(f"{stem}{suffix}.wav"), unit) != unit:
            count += 1
            suffix = f"-{count}"
        found[unit] = f"{stem}{suffix}.wav"
    return found


def _dict(entry: Entry, key: str) -> dict[str, Any]:
    value = entry.get(key)
    return value if isinstance(value, dict) else {}


def _list(entry: Entry, key: str) -> list[Any]:
    value = entry.get(key)
    return value if isinstance(value, list) else []


def _used(rows: Sequence[Row], key: str) -> list[str]:
    return list(dict.fromkeys(value for row in rows if isinstance(value := row.get(key), str)))

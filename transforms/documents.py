"""Historical rows of generations as documents: what a row must hold, its key, its ids, and what is written of it.

A row is never known by the name of a file: all that is said of a document stands in columns.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from resplice.transforms.records import Reason, Refusal, UserError

SUCCESS = "success"
_MOST_SHOWN = 500
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_ID_LENGTH = 16
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TICK = timedelta(microseconds=1)


@dataclass(frozen=True)
class Source:
    """One CSV: the documents it tells of, and the names of its columns. `files` are names of one column."""

    name: str
    stage: str
    csv: str
    task: str
    template: str
    model: str = "generation_model"
    status: str = "generation_status"
    timestamp: str = "generation_timestamp"
    files: tuple[str, ...] = ("response_file",)
    links: tuple[str, ...] = ()

    @property
    def needed(self) -> tuple[str, ...]:
        """Return the columns without which no row can be a document, but for the response's."""
        combo = ("combo_id",) if not self.links else ()
        return (self.task, *combo, self.template, self.model, self.status, self.timestamp)


def _generated(name: str, stage: str) -> Source:
    return Source(name, stage, f"{name}_generation_results.csv", f"{name}_task_id", f"{name}_template_id")


SOURCES = (
    _generated("draft", "draft"),
    _generated("link", "draft"),
    _generated("essay", "essay"),
    Source(
        "evaluation", "evaluation", "evaluation_results.csv", "evaluation_task_id", "evaluation_template",
        "evaluation_model", "evaluation_status", "evaluation_timestamp",
        ("eval_response_file", "evaluation_response_file"), ("essay_task_id", "generation_task_id"),
    ),
)  # fmt: skip
"""The CSVs in the order in which they are read; the number of a source is its place here."""
DRAFT, LINK, ESSAY, EVALUATION = range(len(SOURCES))
STAGES = ("draft", "essay", "evaluation")


class Row(NamedTuple):
    """One data row: its 0-based number, its cells as they are written ("" for one that is not there).

    `repeat` is 2 for the second row of its CSV with this task id and timestamp; `fault` says why its cells cannot be
    trusted.
    """

    source: int
    number: int
    task_id: str
    combo_id: str
    template: str
    model: str
    status: str
    timestamp: str
    file: str
    essay: str = ""
    generation: str = ""
    repeat: int = 1
    fault: str = ""

    @property
    def key(self) -> str:
        """Return what tells the row from all others of a run, wherever it stands in its CSV."""
        key = f"{SOURCES[self.source].csv}:{self.task_id}:{self.timestamp}"
        return f"{key}:{self.repeat}" if self.repeat > 1 else key


_FILE = Row._fields.index("file") - Row._fields.index("task_id")


@dataclass(frozen=True)
class Layout:
    """Where the cells of a CSV stand: the width of its header, and a column each for the cells of a `Row` (-1: none).

    A row must be longer than `last`, the place of its last required column. `others` are the columns of the response
    under its further names: where a cell is empty, the next one holds.
    """

    source: int
    width: int
    last: int
    last_name: str
    places: tuple[int, ...]
    others: tuple[int, ...] = ()

    def row(self, number: int, cells: Sequence[str], repeat: int = 1) -> Row:
        """Return the row that some cells are."""
        width = len(cells)
        taken = [cells[place] if 0 <= place < width else "" for place in self.places]
        if self.others and not taken[_FILE]:
            taken[_FILE] = next((cells[place] for place in self.others if place < width and cells[place]), "")
        read = Row(self.source, number, *taken)  # type: ignore[arg-type]
        return read._replace(repeat=repeat, fault=self._fault(width, taken))

    def _fault(self, width: int, taken: Sequence[str]) -> str:
        if width > self.width:
            return f"{width} cells, the header has {self.width}"
        if width <= self.last:
            return f"{width} cells, {self.last_name} is the {self.last + 1}th"
        text = "".join(taken)
        if "\0" in text:
            return "a cell holds a NUL character"
        return "" if text.isascii() or is_text(text) else "a cell is not UTF-8"


def is_text(text: str) -> bool:
    """Return whether a text is one of UTF-8, with no lone surrogate."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def layout(source: int, header: Sequence[str]) -> Layout:
    """Return where the cells of a source's CSV stand. UserError for a needed column that is not there, or twice."""
    kind = SOURCES[source]
    file, *others = [name for name in kind.files if name in header] or [""]
    names = (kind.task, "combo_id", kind.template, kind.model, kind.status, kind.timestamp, file, *kind.links)
    missing = [name for name in kind.needed if name not in header] + ([] if file else [kind.files[0]])
    if missing:
        raise UserError(f"{kind.csv} has no column {missing[0]} (it has: {cut(shown(', '.join(header)))})")
    if twice := [name for name in (*names, *others) if header.count(name) > 1]:
        raise UserError(f"{kind.csv} has the column {twice[0]} twice: leave one of them")
    places = tuple(header.index(name) if name in header else -1 for name in names)
    last = max(header.index(name) for name in (*kind.needed, file))
    return Layout(source, len(header), last, header[last], places, tuple(map(header.index, others)))


def ticks(timestamp: str) -> int | None:
    """Return the microseconds since 1970 of an ISO-8601 time, read to UTC (a naive one is of UTC); None if it is none.

    Digits beyond microseconds are cut.
    """
    try:
        moment = datetime.fromisoformat(timestamp)
        return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH) // _TICK
    except (ValueError, OverflowError):
        return None


def iso(ticks_: int) -> str:
    """Return a time as the index holds it: UTC, always of one width, so that texts sort as times do."""
    return (_EPOCH + ticks_ * _TICK).isoformat(timespec="microseconds").replace("+00:00", "Z")


def checked(row: Row) -> int:
    """Return the time of a row in ticks. Raises Refusal invalid_row or not_successful."""
    if row.fault:
        raise Refusal(Reason.INVALID_ROW, row.fault)
    kind = SOURCES[row.source]
    cells = [(kind.task, row.task_id), (kind.template, row.template), (kind.model, row.model)]
    cells.append((kind.timestamp, row.timestamp))
    if not kind.links:
        cells.append(("combo_id", row.combo_id))
    if empty := [name for name, cell in cells if not cell]:
        raise Refusal(Reason.INVALID_ROW, f"{empty[0]} is empty")
    moment = ticks(row.timestamp)
    if moment is None or not _sayable(moment):
        raise Refusal(Reason.INVALID_ROW, f"{kind.timestamp} {cut(row.timestamp)!r} is no time")
    if row.status != SUCCESS:
        raise Refusal(Reason.NOT_SUCCESSFUL, f"{kind.status} is {cut(row.status)!r}")
    return moment


def _sayable(moment: int) -> bool:
    """Return whether a time lies within what UTC can say; an offset may put it before year 1 or beyond 9999."""
    try:
        iso(moment)
    except OverflowError:
        return False
    return True


def identify(*parts: str) -> str:
    """Return the id of some parts: SHA-256 over each followed by `|`, the first 12 bytes in base 36, 16 digits."""
    digest = hashlib.sha256("".join(f"{part}|" for part in parts).encode()).digest()
    number, digits = int.from_bytes(digest[:12], "big"), ""
    while number:
        number, digit = divmod(number, 36)
        digits = _DIGITS[digit] + digits
    return digits.rjust(_ID_LENGTH, "0")[:_ID_LENGTH]


def logical_parts(source: int, combo: str, parent: str, template: str, model: str) -> tuple[str, str, str, str]:
    """Return what the logical key of a document consists of; `parent` is the id of the document that it is about."""
    stage = SOURCES[source].stage
    return (stage, combo if stage == "draft" else parent, template, model)


def small_of(line: Mapping[str, Any]) -> dict[str, Any]:
    """Return the small metadata of a row of the index; {} for what is no JSON object: others may write rows, too."""
    try:
        value = json.loads(line["meta_small"] or "{}", parse_constant=_refuse)
    except (ValueError, TypeError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number of JSON")


def is_another(line: Mapping[str, Any], parts: Sequence[str]) -> bool:
    """Return whether a row of the index has other parts of its logical key than these, as far as it tells them."""
    about = small_of(line).get("combo_id") if line["stage"] == "draft" else line["parent_doc_id"]
    told = (line["stage"], about, line["template_id"], line["model_id"])
    return any(one is not None and one != other for one, other in zip(told, parts, strict=True))


def folder(stage: str, logical_id: str, doc_id: str) -> str:
    """Return the folder of a document below the root of documents."""
    return f"{stage}/{logical_id}/{doc_id}"


def shown(text: str) -> str:
    """Return a cell as a list for people may hold it: what is no text is escaped."""
    return text.encode("utf-8", "backslashreplace").decode()


def cut(text: str) -> str:
    """Return a name or a cell as a sentence may repeat it: not more than a few hundred characters."""
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}… ({len(text)} characters)"

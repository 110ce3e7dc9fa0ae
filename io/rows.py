"""The user's database: transcription rows and video statuses, read by SQLAlchemy, read-only until `finalize`."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from resplice.io.database import Table, connect, reflect, version, where
from resplice.transforms import provenance
from resplice.transforms.records import UserError
from resplice.transforms.settings import Database

_PAGE = 5000
_IN = 500


@dataclass(frozen=True)
class Row:
    """One transcription row. Text that is not UTF-8 holds lone surrogates; `columns` has every column, JSON-able."""

    id: int | str
    video_id: str
    segment_file: str
    transcription: str
    duration_s: float | None
    columns: dict[str, Any]


def shown(text: str) -> str:
    """Return text with bytes that are not UTF-8, and lone surrogates, as backslash escapes."""
    if text.isascii():
        return text
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode()


def _shown(value: Any) -> Any:
    """Return a JSON value with all its text as `shown`."""
    if isinstance(value, str):
        return shown(value)
    if isinstance(value, dict):
        return {shown(name): _shown(inner) for name, inner in value.items()}
    return [_shown(inner) for inner in value] if isinstance(value, list) else value


class Rows:
    """Reader (and, for `finalize`, writer) of one database. Cheap to make; connections are opened on use."""

    def __init__(self, database: Database, writable: bool = False) -> None:
        self._database = database
        self._url = database.url
        self._engine = connect(database.url, writable)
        self._columns = database.columns
        self._videos = database.video_columns

    @property
    def version(self) -> str:
        """Return the version token of the database, "" where it has none."""
        return version(self._url)

    @property
    def id_type(self) -> str:
        """Return the parquet type of row ids: int64 where the column is an integer, else string."""
        return "int64" if self._columns.id in self._rows_table().integer else "string"

    def check(self) -> None:
        """Raise UserError unless both tables and all configured columns exist."""
        self._rows_table()
        self._videos_table()

    def counts(self) -> list[tuple[str, int]]:
        """Return (video_id, rows), sorted by code point; rows without a video_id stand under ""."""
        table = self._rows_table()
        key = self._key(table, self._columns.video_id)
        query: Any = sa.select(key, sa.func.count()).select_from(table.table).group_by(key)
        totals: dict[str, int] = {}
        for value, count in self._fetch(query):
            totals[_text(value)] = totals.get(_text(value), 0) + count
        return sorted(totals.items())

    def statuses(self) -> dict[str, str | None]:
        """Return the validation_status of every video of the videos table."""
        table = self._videos_table()
        query: Any = sa.select(sa.column(self._videos.video_id), sa.column(self._videos.validation_status))
        return {
            _text(video): None if status is None else shown(_text(status))
            for video, status in self._fetch(query.select_from(table.table))
        }

    def between(self, after: str | None, until: str | None) -> Iterator[Row]:
        """Yield the rows of video ids in (after, until], sorted by video and id; no bound: from or to the end.

        Rows without a video_id come with the range that has no lower bound.
        """
        table = self._rows_table()
        key = self._key(table, self._columns.video_id)
        where = []
        if after is not None:
            where.append(key > after)
        if until is not None:
            inside = key <= until
            where.append(inside if after is not None else sa.or_(inside, key.is_(None)))
        yield from self._rows(table, where)

    def of(self, video_ids: Sequence[str]) -> dict[str, list[Row]]:
        """Return the rows of some videos; a video without rows has an empty list."""
        table = self._rows_table()
        key = self._key(table, self._columns.video_id)
        found: dict[str, list[Row]] = {video: [] for video in video_ids}
        for first in range(0, len(video_ids), _IN):
            for row in self._rows(table, [key.in_(video_ids[first : first + _IN])]):
                found[row.video_id].append(row)
        return found

    def status_of(self, video_ids: Sequence[str]) -> dict[str, str | None]:
        """Return the current validation_status of some videos (absent: no such video)."""
        table = self._videos_table()
        key = self._key(table, self._videos.video_id)
        found: dict[str, str | None] = {}
        for first in range(0, len(video_ids), _IN):
            query: Any = sa.select(key, sa.column(self._videos.validation_status)).select_from(table.table)
            for video, status in self._fetch(query.where(key.in_(video_ids[first : first + _IN]))):
                found[_text(video)] = None if status is None else shown(_text(status))
        return found

    def set_status(self, changes: Iterable[tuple[str, str | None, str | None]]) -> list[str]:
        """Compare and set in one transaction: (video_id, expected, new), values as `status_of` shows them.

        Return the ids whose value was another; they are left as they are.
        """
        table = self._videos_table()
        key = self._key(table, self._videos.video_id)
        current = self._key(table, self._videos.validation_status)
        target = sa.table(table.table.name, sa.column(self._videos.validation_status), schema=table.table.schema)
        conflicts = []
        try:
            with self._engine.begin() as connection:
                for video, expected, new in changes:
                    matches = current.is_(None) if expected is None else current == expected
                    update = sa.update(target).where(key == video, matches)
                    if not connection.execute(update.values({self._videos.validation_status: new})).rowcount:
                        conflicts.append(video)
        except sa.exc.OperationalError as error:
            raise UserError(f"the database cannot be written: {error.orig}") from error
        return conflicts

    def _rows(self, table: Table, where: list[sa.ColumnElement[bool]]) -> Iterator[Row]:
        names = list(table.kinds)
        order = [self._key(table, self._columns.video_id), sa.column(self._columns.id)]
        columns: list[Any] = [sa.column(name) for name in names]
        query: sa.Select[Any] = sa.select(*columns).select_from(table.table).where(*where).order_by(*order)
        fetched = self._fetch(query)
        while page := list(itertools.islice(fetched, _PAGE)):
            yield from self._page(table, dict(zip(names, zip(*page, strict=True), strict=True)))

    def _page(self, table: Table, values: dict[str, tuple[Any, ...]]) -> Iterator[Row]:
        """Yield some rows, given by column: a function for each value costs more than all that is done to it."""
        ours = self._columns
        whole = ours.id in table.integer
        shown_ = [_json_values(column, table.kinds[name]) for name, column in values.items()]
        found = zip(
            (_row_id(value, whole, ours.id) for value in values[ours.id]),
            _texts(values[ours.video_id]),
            _texts(values[ours.segment_file]),
            map(shown, _texts(values[ours.transcription])),
            map(_number, values[ours.duration_s]) if ours.duration_s else itertools.repeat(None),
            (dict(zip(values, row, strict=True)) for row in zip(*shown_, strict=True)),
            strict=False,  # without durations their column has no end
        )
        for row in found:
            yield Row(*row)

    def _key(self, table: Table, name: str) -> sa.ColumnElement[Any]:
        key: sa.ColumnElement[Any] = sa.column(name, sa.String)
        if name not in table.textual:
            key = sa.cast(key, sa.String)
        return sa.collate(key, "BINARY" if self._engine.dialect.name == "sqlite" else "C")

    def _fetch(self, query: Any) -> Iterator[Any]:
        try:
            with self._engine.connect() as connection:
                yield from connection.execution_options(yield_per=_PAGE).execute(query)
        except sa.exc.OperationalError as error:
            raise UserError(f"{where(self._engine)}: {error.orig}") from error

    def _rows_table(self) -> Table:
        wanted = {name: theirs for name, theirs in vars(self._columns).items() if theirs or name != "duration_s"}
        return reflect(self._engine, self._database.rows_table, "database.columns", tuple(wanted.items()),
                        self._columns.created_at)  # fmt: skip

    def _videos_table(self) -> Table:
        return reflect(self._engine, self._database.videos_table, "database.video_columns",
                        tuple(vars(self._videos).items()), "")  # fmt: skip


def _texts(values: Iterable[Any]) -> list[str]:
    return [value if type(value) is str else _text(value) for value in values]


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else str(value)


def _row_id(value: Any, integer: bool, column: str) -> int | str:
    if not integer:
        return shown(_text(value))
    if not isinstance(value, int):
        raise UserError(f"column {column!r} is declared as integer but holds {value!r}")
    return value


def _number(value: Any) -> float | None:
    try:
        return None if value is None else float(value)
    except (TypeError, ValueError):
        return None


def _json_values(values: Sequence[Any], kind: str) -> list[Any]:
    """Return the values of a column as `_json_value` does; it is not asked for those that JSON takes as they are."""
    if kind:
        return [None if value is None else _json_value(value, kind) for value in values]
    return [
        value
        if value is None or type(value) is int or (type(value) is str and value.isascii())
        else _json_value(value, kind)
        for value in values
    ]


def _json_value(value: Any, kind: str) -> Any:
    """Return a column's value as JSON can say it: dates as ISO-8601 UTC, decimals as numbers, JSON as JSON."""
    try:
        if kind == "datetime" and isinstance(value, str):
            value = datetime.fromisoformat(value)
        elif kind == "json" and isinstance(value, str):
            value = json.loads(value)
        elif kind == "number" and isinstance(value, str):
            value = Decimal(value)
    except (ValueError, ArithmeticError):
        pass
    return _shown(provenance.plain(value))

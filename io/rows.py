"""The user's database: transcription rows and video statuses, read-only until `finalize`.

SQLAlchemy writes the SQL. The inventory reads tables by column (`columnar`), the few rows that repair needs by row.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from resplice.io import columnar, rowtable
from resplice.io.database import connect, exported, patiently, reading, version
from resplice.io.tables import Table, reflect, videos_table
from resplice.io.values import json_values, number, row_id, text, texts
from resplice.transforms.provenance import shown
from resplice.transforms.records import SnapshotLost, Unavailable
from resplice.transforms.settings import Database

_PAGE = 5000
_IN = 500
_STUCK = 5
_Page = Mapping[str, Sequence[Any]]
_Where = Callable[[str | None], list[sa.ColumnElement[bool]]]


@dataclass(frozen=True)
class Row:
    """One transcription row. Text that is not UTF-8 holds lone surrogates; `columns` has every column, JSON-able."""

    id: int | str
    video_id: str
    segment_file: str
    transcription: str
    duration_s: float | None
    columns: dict[str, Any]


class Rows:
    """Reader of one database, of one state of it if `snapshot` names one. Cheap to make; connects on use."""

    def __init__(self, database: Database, snapshot: str = "") -> None:
        self._database = database
        self._snapshot = snapshot
        self._engine = connect(database.url, False)
        self._columns = database.columns
        self._videos = database.video_columns

    @property
    def version(self) -> str:
        """Return the version token of the database, "" where it has none."""
        return version(self._database.url)

    @property
    def id_type(self) -> str:
        """Return the parquet type of row ids: int64 where the column is an integer, else string."""
        return "int64" if self._rows_table().is_integer(self._columns.id) else "string"

    @property
    def by_range(self) -> bool:
        """Return whether an index by video serves ranges of ids; elsewhere its order is not that of code points."""
        return self._engine.dialect.name == "sqlite"

    def check(self) -> None:
        """Raise UserError unless both tables and all configured columns exist; Unavailable, at once, if it is away."""
        with reading(self._engine):
            pass
        self._rows_table()
        self._videos_table()

    @contextmanager
    def frozen(self) -> Iterator[str]:
        """Hold one state of the database while the block runs and give the name that `Rows` reads it by, or ""."""
        with exported(self._engine) as snapshot:
            yield snapshot

    def check_snapshot(self) -> None:
        """Raise SnapshotLost if the state that this reader reads is gone."""
        if self._snapshot:
            patiently(lambda: list(self._pages(sa.select(sa.literal(1).label("one")))))

    def counts(self) -> list[tuple[str, int]]:
        """Return (video_id, rows), sorted by code point; rows without a video_id stand under ""."""
        table = self._rows_table()
        key = table.key(self._columns.video_id)
        query = sa.select(key.label("key"), sa.func.count().label("n")).select_from(table.table).group_by(key)
        totals: dict[str, int] = {}
        for value, count in self._all(query):
            totals[text(value)] = totals.get(text(value), 0) + count
        return sorted(totals.items())

    def statuses(self) -> dict[str, str | None]:
        """Return the validation_status of every video of the videos table."""
        return self._statuses(self._videos_table(), [])

    def status_of(self, video_ids: Sequence[str]) -> dict[str, str | None]:
        """Return the current validation_status of some videos (absent: no such video)."""
        table = self._videos_table()
        found: dict[str, str | None] = {}
        for first in range(0, len(video_ids), _IN):
            part = video_ids[first : first + _IN]
            statuses = self._statuses(table, [table.is_one_of(self._videos.video_id, part)])
            found |= {video: statuses[video] for video in part if video in statuses}
        return found

    def table(self, after: str | None = None, until: str | None = None, ids: Iterable[str] | None = None) -> pa.Table:
        """Return the rows `among` ids, or else `between` two, in that order, as `rowtable` has them."""
        source = self._rows_table()
        where = self._between(source, after, until) if ids is None else self._among(source, ids)
        if source.columnar:
            with suppress(columnar.Unfit):
                return self._by_column(source, self._query(source, where(None)), ids)
        return rowtable.of_rows(self.between(after, until) if ids is None else self.among(ids), self.id_type)

    def _by_column(self, source: Table, query: sa.Select[*tuple[Any, ...]], ids: Iterable[str] | None) -> pa.Table:
        kind = self.id_type
        try:
            with closing(columnar.batches(self._engine, query, self._snapshot)) as batches:
                parts = [rowtable.of_batch(batch, self._columns, source.kinds, kind) for batch in batches]
        except pa.ArrowException as error:  # more text than an array of it holds
            raise columnar.Unfit(str(error)) from error
        table = pa.concat_tables([rowtable.schema(kind).empty_table(), *parts])
        return table if ids is None else table.filter(pc.is_in(table["video_id"], pa.array(list(ids), pa.string())))

    def between(self, after: str | None, until: str | None) -> Iterator[Row]:
        """Yield the rows of video ids in (after, until], sorted by video and id; no bound: from or to the end.

        Rows without a video_id come with the range that has no lower bound.
        """
        table = self._rows_table()
        return self._resumed(table, self._between(table, after, until))

    def among(self, video_ids: Iterable[str]) -> Iterator[Row]:
        """Yield the rows of some videos, sorted by video and id; "" is the id of rows that have none."""
        table, wanted = self._rows_table(), frozenset(video_ids)
        return (row for row in self._resumed(table, self._among(table, wanted)) if row.video_id in wanted)

    def of(self, video_ids: Sequence[str]) -> dict[str, list[Row]]:
        """Return the rows of some videos; a video without rows has an empty list."""
        found: dict[str, list[Row]] = {video: [] for video in video_ids}
        for first in range(0, len(video_ids), _IN):
            for row in self.among(video_ids[first : first + _IN]):
                found[row.video_id].append(row)
        return found

    def _between(self, table: Table, after: str | None, until: str | None) -> _Where:
        key = table.key(self._columns.video_id)

        def where(last: str | None) -> list[sa.ColumnElement[bool]]:
            lower = after if last is None else last
            found = [] if lower is None else [key > lower]
            if until is not None:
                found.append(key <= until if found else sa.or_(key <= until, key.is_(None)))
            return found

        return where

    def _among(self, table: Table, video_ids: Iterable[str]) -> _Where:
        name, wanted = self._columns.video_id, frozenset(video_ids)

        def where(last: str | None) -> list[sa.ColumnElement[bool]]:
            left = sorted(video for video in wanted if last is None or video > last)
            some = table.is_one_of(name, left)
            return [sa.or_(some, table.key(name).is_(None)) if "" in left else some]

        return where

    def _resumed(self, table: Table, where: _Where) -> Iterator[Row]:
        """Yield the rows that fulfil `where(None)`; if the connection is lost, go on behind the last whole video.

        `where(last)` leaves those of the videos up to `last`. Behind a video, not behind a row: ids need not be unique.
        """
        last: str | None = None
        stuck = 0
        while True:
            whole: list[Row] = []
            try:
                for row in self._begun(table, where(last)):
                    if whole and row.video_id != whole[0].video_id:
                        yield from whole
                        stuck, last, whole = 0, whole[0].video_id, []
                    whole.append(row)
                yield from whole
                return
            except Unavailable as error:
                stuck += 1
                if isinstance(error, SnapshotLost) or stuck > _STUCK:
                    raise

    def _begun(self, table: Table, where: list[sa.ColumnElement[bool]]) -> Iterator[Row]:
        """Yield rows in order; wait until the database is there and has given the first ones."""
        query = self._query(table, where)
        pages = patiently(lambda: _started(self._pages(query)))
        return (row for page in pages for row in self._page(table, page))

    def _query(self, table: Table, where: list[sa.ColumnElement[bool]]) -> sa.Select[*tuple[Any, ...]]:
        columns = [table.selected(name) for name in table.kinds]
        order = [table.key(self._columns.video_id).nulls_first(), table.order(self._columns.id)]
        return sa.select(*columns).select_from(table.table).where(*where).order_by(*order)

    def _statuses(self, table: Table, where: list[sa.ColumnElement[bool]]) -> dict[str, str | None]:
        columns = (table.selected(name) for name in (self._videos.video_id, self._videos.validation_status))
        query = sa.select(*columns).select_from(table.table).where(*where)
        return {
            text(video): None if status is None else shown(text(status))
            for video, status in self._all(query, by_column=table.columnar and not where)
        }

    def _all(self, query: sa.Select[*tuple[Any, ...]], by_column: bool = True) -> list[tuple[Any, ...]]:
        def fetch(pages: Iterable[_Page]) -> list[tuple[Any, ...]]:
            return [row for page in pages for row in zip(*page.values(), strict=True)]

        if by_column:
            with suppress(columnar.Unfit):
                return fetch(columnar.pages(self._engine, query, self._snapshot))
        return patiently(lambda: fetch(self._pages(query)))

    def _pages(self, query: sa.Select[*tuple[Any, ...]]) -> Iterator[_Page]:
        """Yield the rows of a query, some at a time, by column."""
        with reading(self._engine, self._snapshot) as connection:
            result = connection.execution_options(yield_per=_PAGE).execute(query)
            names = list(result.keys())
            for part in result.partitions():
                yield dict(zip(names, zip(*part, strict=True), strict=True))

    def _page(self, table: Table, values: _Page) -> Iterator[Row]:
        """Yield some rows, given by column: a function for each value costs more than all that is done to it."""
        ours = self._columns
        whole = table.is_integer(ours.id)
        json_ = [json_values(column, table.kinds[name]) for name, column in values.items()]
        found = zip(
            (row_id(value, whole, ours.id) for value in values[ours.id]),
            texts(values[ours.video_id]),
            texts(values[ours.segment_file]),
            map(shown, texts(values[ours.transcription])),
            map(number, values[ours.duration_s]) if ours.duration_s else itertools.repeat(None),
            (dict(zip(values, row, strict=True)) for row in zip(*json_, strict=True)),
            strict=False,  # without durations their column has no end
        )
        for row in found:
            yield Row(*row)

    def _rows_table(self) -> Table:
        wanted = {name: theirs for name, theirs in vars(self._columns).items() if theirs or name != "duration_s"}
        return reflect(self._engine, self._database.rows_table, "database.columns", tuple(wanted.items()),
                        self._columns.created_at)  # fmt: skip

    def _videos_table(self) -> Table:
        return videos_table(self._engine, self._database)


def _started(pages: Iterator[_Page]) -> Iterator[_Page]:
    """Return the same pages, the first of which is there."""
    first = list(itertools.islice(pages, 1))
    return itertools.chain(first, pages)

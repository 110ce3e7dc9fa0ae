"""The index of documents: one table of an SQL database, created where it is missing, whose rows are only ever added."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from resplice.io.database import connect, patiently, reading, translated, where
from resplice.transforms.documents import STAGES, small_of
from resplice.transforms.records import UserError

OPTION = "--db"
TABLE = "documents"
Line = dict[str, Any]
_AT_ONCE = 1000
_FIRST = 10_000

_TABLE = sa.Table(
    TABLE,
    sa.MetaData(),
    sa.Column("doc_id", sa.Text, primary_key=True),
    sa.Column("logical_key_id", sa.Text, nullable=False),
    sa.Column("stage", sa.Text, sa.CheckConstraint(f"stage IN {STAGES}"), nullable=False),
    sa.Column("task_id", sa.Text, nullable=False),
    sa.Column("parent_doc_id", sa.Text),
    sa.Column("template_id", sa.Text),
    sa.Column("model_id", sa.Text),
    sa.Column("run_id", sa.Text),
    sa.Column("prompt_path", sa.Text),
    sa.Column("parser", sa.Text),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("created_at", sa.Text, nullable=False),
    sa.Column("doc_dir", sa.Text, nullable=False),
    sa.Column("raw_chars", sa.Integer),
    sa.Column("parsed_chars", sa.Integer),
    sa.Column("content_hash", sa.Text),
    sa.Column("meta_small", sa.Text),
    sa.Index("documents_latest", "logical_key_id", "created_at"),
    sa.Index("documents_task", "stage", "task_id", "created_at"),
    sa.Index("documents_parent", "parent_doc_id", "created_at"),
)
COLUMNS = tuple(column.name for column in _TABLE.columns)
FILTERS = {"stage": "stage", "model": "model_id", "template": "template_id", "task": "task_id"}
"""What documents are looked for by, and the column of each."""


class Index:
    """The documents of one database. It is opened when it is first asked; reading never makes a file or a table."""

    def __init__(self, url: str) -> None:
        self._url = url

    def __reduce__(self) -> tuple[Any, ...]:
        return Index, (self._url,)

    def _reader(self) -> sa.Engine:
        return connect(self._url, False, option=OPTION)

    @property
    def file(self) -> str:
        """Return the file of an SQLite database, "" for another; the URL must be one (see `exists`)."""
        url = sa.engine.make_url(self._url)
        return url.database or "" if url.get_backend_name() == "sqlite" else ""

    def exists(self) -> bool:
        """Return whether the table is there. UserError for a URL that is none, or a table that is another."""
        if self._is_new_file():
            return False
        engine = self._reader()
        with reading(engine) as connection:
            inspector = sa.inspect(connection)
            if not inspector.has_table(TABLE):
                return False
            there = {column["name"] for column in inspector.get_columns(TABLE)}
        if lacking := [name for name in COLUMNS if name not in there]:
            raise UserError(
                f"{OPTION}: the table {TABLE} of {where(engine)} has no column {lacking[0]} (it has: "
                f"{', '.join(sorted(there))}); name another database"
            )
        return True

    def _is_new_file(self) -> bool:
        try:
            self._reader()
        except UserError as error:
            if "there is no file" in str(error):
                return True
            raise
        return False

    def create(self) -> None:
        """Make the table and its indexes, where they are missing."""
        if self.exists() and not self._lacks_an_index():
            return
        with self._writing() as connection:
            connection.execute(sa.schema.CreateTable(_TABLE, if_not_exists=True))
            for index in sorted(_TABLE.indexes, key=lambda index: str(index.name)):
                connection.execute(sa.schema.CreateIndex(index, if_not_exists=True))

    def _lacks_an_index(self) -> bool:
        """Return whether a process was killed between the table and its last index; elsewhere they come at once."""
        if not self.file:
            return False
        with reading(self._reader()) as connection:
            there = {tuple(index["column_names"]) for index in sa.inspect(connection).get_indexes(TABLE)}
        return any(tuple(index.columns.keys()) not in there for index in _TABLE.indexes)

    @contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        engine = connect(self._url, True, create=True, option=OPTION)
        try:
            with engine.begin() as connection:
                yield connection
        except sa.exc.DBAPIError as error:
            raise translated(engine, error, "written") from error

    def insert(self, rows: Sequence[Line]) -> int:
        """Add rows in one transaction and return how many were new; one that is there already is left as it is."""
        return patiently(lambda: self._insert(rows))

    def _insert(self, rows: Sequence[Line]) -> int:
        before = self.count([row["doc_id"] for row in rows])
        if before == len(rows):
            return 0
        with self._writing() as connection:
            connection.execute(_insert_only(connection), rows)
        return len(rows) - before

    def count(self, doc_ids: Sequence[str]) -> int:
        """Return how many of some documents are in the index."""
        return sum(1 for _ in self._of(doc_ids, [_TABLE.c.doc_id]))

    def known(self, doc_ids: Sequence[str]) -> dict[str, Line]:
        """Return what the index holds of some documents, by id; those that it does not have are left out."""
        names = ("doc_id", "logical_key_id", "run_id", "content_hash", "doc_dir", "prompt_path", "meta_small")
        return {row["doc_id"]: row for row in self._of(doc_ids, [_TABLE.c[name] for name in names])}

    def of_run(self, run_id: str, stage: str, task_ids: Collection[str]) -> dict[str, Line]:
        """Return the id and small metadata of a run's documents of a stage and of some tasks, by row key."""
        columns = [_TABLE.c.doc_id, _TABLE.c.meta_small]
        wanted = _TABLE.c.run_id == run_id, _TABLE.c.stage == stage
        found = self._of(sorted(set(task_ids)), columns, "task_id", wanted)
        return {key: row for row in found if isinstance(key := small_of(row).get("row_key"), str)}

    def _of(
        self, values: Sequence[str], columns: Sequence[sa.Column[Any]], by: str = "doc_id",
        wanted: Iterable[sa.ColumnElement[bool]] = (),
    ) -> Iterator[Line]:  # fmt: skip
        with reading(self._reader()) as connection:
            for start in range(0, len(values), _AT_ONCE):
                some = values[start : start + _AT_ONCE]
                found = connection.execute(sa.select(*columns).where(_TABLE.c[by].in_(some), *wanted))
                yield from (dict(row) for row in found.mappings())

    def with_keys(self, logical_ids: Sequence[str]) -> dict[str, Line]:
        """Return one document for each of some logical keys that the index has."""
        names = ("logical_key_id", "stage", "parent_doc_id", "template_id", "model_id", "meta_small", "doc_id")
        found = self._of(logical_ids, [_TABLE.c[name] for name in names], "logical_key_id")
        return {row["logical_key_id"]: row for row in found}

    def get(self, doc_id: str) -> Line | None:
        """Return one document, None if it is not there."""
        return next(iter(self._of([doc_id], list(_TABLE.columns))), None)

    def of_key(self, logical_id: str) -> list[str]:
        """Return the ids of the documents of a logical key, latest first."""
        found = self._of([logical_id], [_TABLE.c.doc_id, _TABLE.c.created_at], "logical_key_id")
        return ids_of(sorted(found, key=lambda row: (row["created_at"], row["doc_id"]), reverse=True))

    def children(self, doc_ids: Sequence[str]) -> list[Line]:
        """Return the documents that have one of some as their parent, oldest first."""
        found = self._of(doc_ids, list(_TABLE.columns), "parent_doc_id")
        return sorted(found, key=lambda row: (row["created_at"], row["doc_id"]))

    def find(self, wanted: Mapping[str, str], most: int | None) -> tuple[int, list[Line]]:
        """Return how many documents have the wanted values (see FILTERS), and the first `most`, latest first."""
        conditions = [_TABLE.c[FILTERS[name]] == value for name, value in wanted.items()]
        ordered = sa.select(_TABLE).where(*conditions).order_by(_TABLE.c.created_at.desc(), _TABLE.c.doc_id)
        with reading(self._reader()) as connection:
            total = connection.execute(sa.select(sa.func.count()).select_from(_TABLE).where(*conditions)).scalar_one()
            rows = connection.execute(ordered.limit(most)).mappings()
            return int(total), [dict(row) for row in rows]

    def all(self, latest: bool = False) -> Iterator[Line]:
        """Yield all documents in a fixed order; `latest`: of each stage and key the latest ok one alone."""
        order = (_TABLE.c.stage, _TABLE.c.logical_key_id, _TABLE.c.created_at, _TABLE.c.doc_id)
        query = sa.select(_TABLE).order_by(*order)
        if latest:
            place = sa.func.row_number().over(
                partition_by=[_TABLE.c.stage, _TABLE.c.logical_key_id],
                order_by=[_TABLE.c.created_at.desc(), _TABLE.c.doc_id],
            )
            ranked = sa.select(_TABLE, place.label("place")).where(_TABLE.c.status == "ok").subquery()
            columns = [ranked.c[name] for name in COLUMNS]
            query = sa.select(*columns).where(ranked.c.place == 1).order_by(ranked.c.stage, ranked.c.logical_key_id)
        with reading(self._reader()) as connection:
            rows = connection.execution_options(stream_results=True, yield_per=_FIRST).execute(query)
            yield from (dict(row) for row in rows.mappings())


def _insert_only(connection: sa.Connection) -> Any:
    """Return the statement that adds a row, or leaves the one that another process added meanwhile."""
    if connection.dialect.name in ("sqlite", "postgresql"):
        dialect: Any = sqlite if connection.dialect.name == "sqlite" else postgresql
        return dialect.insert(_TABLE).on_conflict_do_nothing()
    return sa.insert(_TABLE)


def ids_of(rows: Iterable[Line]) -> list[str]:
    """Return the ids of some documents."""
    return [row["doc_id"] for row in rows]

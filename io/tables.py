"""What the user's tables look like, and how their columns are asked for.

PostgreSQL is asked for its own text of decimals, dates, JSON and UUIDs: the same from every reader, and there is
always one, also for a date that no library can hold.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from resplice.io.database import patiently, reading, where
from resplice.transforms.records import UserError
from resplice.transforms.settings import Database

_PLAIN = frozenset({sa.TEXT, sa.VARCHAR, sa.CHAR, sa.BIGINT, sa.INTEGER, sa.SMALLINT, sa.DOUBLE_PRECISION, sa.BOOLEAN,
                    postgresql.BYTEA})  # fmt: skip
_AS_TEXT = (sa.NUMERIC, sa.JSON, sa.Date, sa.DateTime, sa.Uuid, sa.Enum)


@dataclass(frozen=True)
class Table:
    """A table as it is: its clause, the types of its columns, and the kinds of values: datetime, json, number or ""."""

    table: sa.TableClause
    types: dict[str, Any]
    kinds: dict[str, str]
    dialect: str

    @property
    def columnar(self) -> bool:
        """Return whether reading by column gives the values that reading by row gives."""
        return self.dialect == "sqlite" or all(
            type(kind) in _PLAIN or isinstance(kind, (*_AS_TEXT, sa.REAL)) for kind in self.types.values()
        )

    def column(self, name: str) -> sa.ColumnElement[Any]:
        """Return a column, without a type that would change what is read."""
        return self.table.c[name]

    def is_integer(self, name: str) -> bool:
        """Return whether a column is one of integers."""
        return isinstance(self.types[name], sa.Integer)

    def selected(self, name: str) -> sa.ColumnElement[Any]:
        """Return a column as it is read."""
        column = self.column(name)
        if self.dialect == "postgresql" and isinstance(self.types[name], _AS_TEXT):
            return sa.cast(column, sa.Text).label(name)
        if self.dialect == "postgresql" and isinstance(self.types[name], sa.REAL):
            return sa.cast(sa.cast(column, sa.Text), sa.DOUBLE_PRECISION).label(name)  # 0.1 is to stay 0.1
        return column

    def key(self, name: str) -> sa.ColumnElement[Any]:
        """Return a column as text that is compared and sorted by code point."""
        key = self.column(name)
        if not self._is_text(name):
            key = sa.cast(key, sa.String)
        return sa.collate(key, "BINARY" if self.dialect == "sqlite" else "C")

    def order(self, name: str) -> sa.ColumnElement[Any]:
        """Return what sorts by a column: numbers by value, on PostgreSQL all else by code point."""
        number = isinstance(self.types[name], (sa.Integer, sa.Numeric, sa.Float))
        return self.column(name) if number or self.dialect != "postgresql" else self.key(name)

    def is_one_of(self, name: str, values: Iterable[str]) -> sa.ColumnElement[bool]:
        """Return the condition that a column is one of some texts; other spellings of them may fulfil it, too.

        A plain index of the column serves it, whatever its collation.
        """
        wanted = list(values)
        if self.dialect == "sqlite":
            return self.key(name).in_(wanted)
        if self._is_text(name):
            return self.column(name).in_(wanted)
        if self.is_integer(name):
            return self.column(name).in_(_canonical(int, wanted))
        if isinstance(self.types[name], sa.Uuid):
            return self.column(name).in_(_canonical(uuid.UUID, wanted))
        return self.key(name).in_(wanted)

    def _is_text(self, name: str) -> bool:
        return isinstance(self.types[name], sa.String) and not isinstance(self.types[name], sa.Enum)


def _canonical(kind: Any, texts: Sequence[str]) -> list[Any]:
    """Return the values that are spelt as some texts; a text that no value is spelt as has none."""
    found = []
    for text in texts:
        with suppress(ValueError):
            if str(value := kind(text)) == text and not (kind is int and abs(value) >= 1 << 63):
                found.append(value)
    return found


@lru_cache(maxsize=16)
def reflect(engine: sa.Engine, name: str, section: str, wanted: tuple[tuple[str, str], ...], date: str) -> Table:
    """Return what a table looks like; UserError unless it and the `wanted` columns (ours, theirs) are there.

    A statement is made of the columns of one answer: two, of threads at once, are two tables to SQLAlchemy.
    """
    types = patiently(lambda: _types(engine, name))
    for ours, theirs in wanted:
        if theirs not in types:
            raise UserError(
                f"table {name!r} has no column {theirs!r} (it has: {', '.join(types)}); set {section}.{ours}"
            )
    dialect = engine.dialect.name
    kinds = {column: _kind(kind, dialect) for column, kind in types.items()}
    if date:
        kinds[date] = "datetime"
    return Table(named(name, types), types, kinds, dialect)


def videos_table(engine: sa.Engine, database: Database) -> Table:
    """Return what the videos table looks like, as `reflect` does."""
    wanted = tuple(vars(database.video_columns).items())
    return reflect(engine, database.videos_table, "database.video_columns", wanted, "")


def named(name: str, columns: Iterable[str] = ()) -> sa.TableClause:
    """Return the clause of a table that is named as the settings do: `table` or `schema.table`."""
    schema, _, table = name.rpartition(".")
    return sa.table(table, *map(sa.column, columns), schema=schema or None)


def _types(engine: sa.Engine, name: str) -> dict[str, Any]:
    schema, _, table = name.rpartition(".")
    with reading(engine) as connection:
        inspector = sa.inspect(connection)
        try:
            columns = inspector.get_columns(table, schema=schema or None)
        except sa.exc.NoSuchTableError:
            known = ", ".join(sorted(inspector.get_table_names(schema=schema or None))) or "none"
            raise UserError(
                f"{where(engine)} has no table {name!r} (it has: {known}); set its name in [database]"
            ) from None
    return {column["name"]: column["type"] for column in columns}


def _kind(kind: Any, dialect: str) -> str:
    if isinstance(kind, sa.DateTime) or (isinstance(kind, sa.Date) and dialect == "sqlite"):
        return "datetime"
    if isinstance(kind, sa.JSON):
        return "json"
    return "number" if isinstance(kind, sa.Numeric) else ""

"""Connections to the user's database, and what its tables look like. SQLite is opened read-only unless asked."""

from __future__ import annotations

import operator
import os
import sqlite3
import urllib.parse
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from resplice.io.local import local_token
from resplice.transforms.records import UserError
from resplice.transforms.settings import Database

URL_VARIABLE = "RESPLICE_DATABASE_URL"
FROM_ENVIRONMENT = f"environment:{URL_VARIABLE}"
_DECODE = operator.methodcaller("decode", "utf-8", "surrogateescape")  # called for every text value: twice a lambda


@dataclass(frozen=True)
class Table:
    """A table as it is: its clause, the kind of each column (datetime, json, number or ""), text and integers."""

    table: sa.TableClause
    kinds: dict[str, str]
    textual: frozenset[str]
    integer: frozenset[str]


def without_password(database: Database) -> Database:
    """Return the settings as a job graph may carry them: a URL with a password stays in the environment, where the
    configuration allows it alone, and each worker reads it there.
    """
    if sa.engine.make_url(database.url).password is None:
        return database
    return replace(database, url=FROM_ENVIRONMENT)


@lru_cache(maxsize=8)
def connect(url: str, writable: bool) -> sa.Engine:
    """Return the engine of a URL, one a process. UserError if the URL, its driver or its file is not there."""
    try:
        parsed = sa.engine.make_url(os.environ.get(URL_VARIABLE, "") if url == FROM_ENVIRONMENT else url)
    except sa.exc.ArgumentError:
        raise UserError("database.url is no SQLAlchemy URL, e.g. sqlite:///corpus.sqlite") from None
    if parsed.get_backend_name() == "sqlite":
        return _sqlite(parsed, writable)
    try:
        engine = sa.create_engine(parsed)
    except (sa.exc.NoSuchModuleError, ModuleNotFoundError) as error:
        raise UserError(f"database.url: no driver for {parsed.drivername} ({error}): install it with pip") from None
    return engine if writable else engine.execution_options(postgresql_readonly=True)


def version(url: str) -> str:
    """Return the version token of an SQLite database: that of its file and of its write-ahead log; "" for any other.

    The same token means that no row has changed, as the store's token does for an object.
    """
    parsed = sa.engine.make_url(os.environ.get(URL_VARIABLE, "") if url == FROM_ENVIRONMENT else url)
    if parsed.get_backend_name() != "sqlite":
        return ""
    files = [Path(f"{parsed.database}{suffix}") for suffix in ("", "-wal")]
    return " ".join(local_token(file.stat()) if file.exists() else "none" for file in files)


def where(engine: sa.Engine) -> str:
    """Return the database as errors name it, without a password."""
    return str(engine.get_execution_options().get("where") or f"the database {engine.url.render_as_string()}")


def _sqlite(url: sa.URL, writable: bool) -> sa.Engine:
    path = Path(url.database or "")
    if path.is_dir():
        raise UserError(f"database.url: {path} is a folder; name the SQLite file")
    if not path.is_file():
        raise UserError(f"database.url: there is no file {path}")
    address = f"file:{urllib.parse.quote(str(path.absolute()))}?mode={'rw' if writable else 'ro'}"

    def open_() -> sqlite3.Connection:
        connection = sqlite3.connect(address, uri=True, timeout=30.0, check_same_thread=False)
        connection.text_factory = _DECODE
        return connection

    engine = sa.create_engine("sqlite://", creator=open_, poolclass=sa.pool.NullPool)
    return engine.execution_options(where=f"the database {path}")


@lru_cache(maxsize=16)
def reflect(engine: sa.Engine, name: str, section: str, wanted: tuple[tuple[str, str], ...], date: str) -> Table:
    """Return what a table looks like; UserError unless it and the `wanted` columns (ours, theirs) are there."""
    schema, _, table = name.rpartition(".")
    place = where(engine)
    try:
        inspector = sa.inspect(engine)
        columns = inspector.get_columns(table, schema=schema or None)
    except sa.exc.NoSuchTableError:
        known = ", ".join(sorted(sa.inspect(engine).get_table_names(schema=schema or None))) or "none"
        raise UserError(f"{place} has no table {name!r} (it has: {known}); set its name in [database]") from None
    except (sa.exc.OperationalError, sa.exc.DatabaseError) as error:
        raise UserError(f"{place} cannot be read: {error.orig}") from None
    types = {column["name"]: column["type"] for column in columns}
    for ours, theirs in wanted:
        if theirs not in types:
            raise UserError(
                f"table {name!r} has no column {theirs!r} (it has: {', '.join(types)}); set {section}.{ours}"
            )
    kinds = {column: "datetime" if column == date else _kind(kind) for column, kind in types.items()}
    textual = frozenset(column for column, kind in types.items() if isinstance(kind, sa.String))
    integer = frozenset(column for column, kind in types.items() if isinstance(kind, sa.Integer))
    return Table(sa.table(table, schema=schema or None), kinds, textual, integer)


def _kind(kind: Any) -> str:
    if isinstance(kind, (sa.DateTime, sa.Date)):
        return "datetime"
    if isinstance(kind, sa.JSON):
        return "json"
    return "number" if isinstance(kind, sa.Numeric) else ""

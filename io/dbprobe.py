"""A probe of the user's database: what `repair` and `finalize` will find there, without reading whole tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from resplice.io.database import connect, reading, where
from resplice.io.rows import Rows
from resplice.io.tables import named
from resplice.transforms.settings import Database

SAMPLE = 10_000


@dataclass(frozen=True)
class DatabaseFacts:
    """What the database holds: whether its tables have a row, pairs (table, column) without an index, statuses.

    `whole`: the statuses are those of all videos.
    """

    where: str
    rows: bool
    videos: bool
    unindexed: tuple[tuple[str, str], ...]
    statuses: frozenset[str | None]
    whole: bool


def look(database: Database) -> DatabaseFacts:
    """Look at the database, opened read-only. UserError if it cannot be read, or a table or column is not there."""
    engine = connect(database.url, False)
    Rows(database).check()
    names, columns = database, database.video_columns
    with reading(engine) as connection:
        rows = _first(connection, names.rows_table, database.columns.video_id, 1)
        videos = _first(connection, names.videos_table, columns.video_id, 1)
        statuses = _first(connection, names.videos_table, columns.validation_status, SAMPLE + 1)
        keys = ((names.rows_table, database.columns.video_id), (names.videos_table, columns.video_id))
        unindexed = tuple(key for key in keys if not _indexed(connection, *key))
    found = frozenset(None if status is None else str(status) for status in statuses)
    return DatabaseFacts(where(engine), bool(rows), bool(videos), unindexed, found, len(statuses) <= SAMPLE)


def _first(connection: sa.Connection, table: str, column: str, most: int) -> list[Any]:
    query: Any = sa.select(sa.column(column)).select_from(named(table)).limit(most)
    return [row[0] for row in connection.execute(query)]


def _indexed(connection: sa.Connection, name: str, column: str) -> bool:
    """Return whether an index, a key or a unique constraint of the table begins with the column."""
    schema, _, table = name.rpartition(".")
    inspector, schema_ = sa.inspect(connection), schema or None
    keys: list[Any] = [inspector.get_pk_constraint(table, schema_).get("constrained_columns")]
    keys += [index["column_names"] for index in inspector.get_indexes(table, schema_)]
    keys += [unique["column_names"] for unique in inspector.get_unique_constraints(table, schema_)]
    return any(columns and columns[0] == column for columns in keys)

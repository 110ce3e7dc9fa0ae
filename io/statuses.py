"""Writing statuses of videos, for `finalize` and `undo`: compare and set, a batch at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import sqlalchemy as sa

from resplice.io.database import connect, patiently, translated
from resplice.io.rows import Rows
from resplice.io.tables import Table, videos_table
from resplice.transforms.settings import Database

Change = tuple[str, str | None, str | None]
"""A video_id, the status that it must have, the one that it gets."""
_Result = TypeVar("_Result")


class Statuses:
    """Writer of the validation statuses of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._engine = connect(database.url, True)
        self._video, self._status = database.video_columns.video_id, database.video_columns.validation_status

    @property
    def _table(self) -> Table:
        return videos_table(self._engine, self._database)

    def check(self) -> None:
        """Raise UserError unless statuses may be written; none is."""
        nothing = sa.update(self._table.table).where(sa.false()).values({self._status: sa.null()})
        self._write(lambda connection: connection.execute(nothing))

    def set(self, changes: Iterable[Change]) -> list[str]:
        """Compare and set in one transaction, values as `Rows.status_of` shows them.

        Return the ids whose value was another; they are left as they are. If the connection is lost on the way, nobody
        knows whether the transaction was: it is done once more, and what has its new value by then counts as set.
        """
        wanted, tries = list(changes), []

        def work(connection: sa.Connection) -> frozenset[str]:
            tries.append(connection)
            at_once = self._engine.dialect.name == "postgresql"
            return self._set_at_once(connection, wanted) if at_once else self._set_each(connection, wanted)

        done = self._write(work) if wanted else frozenset()
        left = [change for change in wanted if change[0] not in done]
        if left and len(tries) > 1:
            now = Rows(self._database).status_of([video for video, _, _ in left])
            left = [(video, old, new) for video, old, new in left if video not in now or now[video] != new]
        return [video for video, _, _ in left]

    def _write(self, work: Callable[[sa.Connection], _Result]) -> _Result:
        def attempt() -> _Result:
            try:
                with self._engine.begin() as connection:
                    return work(connection)
            except sa.exc.DBAPIError as error:
                raise translated(self._engine, error, "written") from error

        return patiently(attempt)

    def _set_each(self, connection: sa.Connection, changes: Sequence[Change]) -> frozenset[str]:
        table, done = self._table, set()
        for video, expected, new in changes:
            current = table.key(self._status)
            matches = current.is_(None) if expected is None else current == expected
            update = sa.update(table.table).where(table.key(self._video) == video, matches)
            if connection.execute(update.values({self._status: new})).rowcount:
                done.add(video)
        return frozenset(done)

    def _set_at_once(self, connection: sa.Connection, changes: Sequence[Change]) -> frozenset[str]:
        table, names = self._table, ("video", "expected", "new")
        wanted = sa.values(*(sa.column(name, sa.Text) for name in names), name="wanted").data(list(changes))
        update: Any = (
            sa.update(table.table)
            .where(
                table.is_one_of(self._video, [video for video, _, _ in changes]),  # finds them by a plain index
                table.key(self._video) == wanted.c.video,
                table.key(self._status).is_not_distinct_from(wanted.c.expected),
            )
            .values({self._status: sa.cast(wanted.c.new, table.types[self._status])})
            .returning(wanted.c.video)
        )
        return frozenset(connection.scalars(update))

"""PostgreSQL killed (-9) and started again at any statement of a recovery and of finalize: the same bytes."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from corpus import Corpus
from postgres import WRITER, Base, Postgres, load
from test_postgres_recovery import made

from resplice.io import columnar

POINTS, RUNS = 20, 5
SEED = int(os.environ.get("RESPLICE_TEST_SEED", "5"))


class Statements:
    """Counts the statements to the database, of all threads; at those in `fatal` the server dies and comes back."""

    def __init__(self, server: Postgres, fatal: Collection[int]) -> None:
        self.count = 0
        self._server, self._fatal, self._lock = server, fatal, threading.Lock()

    def __call__(self, *_: Any) -> None:
        with self._lock:
            self.count += 1
            if self.count in self._fatal:
                self._server.kill()
                self._server.start()


@contextmanager
def watched(statements: Statements, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    real = columnar.batches

    def batches(*arguments: Any) -> Iterator[Any]:
        statements()
        for batch in real(*arguments):
            yield batch
            statements()  # between two of them, too

    sa.event.listen(sa.Engine, "before_cursor_execute", statements)
    try:
        with monkeypatch.context() as patched:
            patched.setattr(columnar, "batches", batches)
            yield
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", statements)


def until_done(corpus: Corpus, command: str, *options: str) -> None:
    """Run a command; as long as it says so, run it again."""
    for _ in range(4):
        if (code := corpus(command, *options)) != 75:
            break
    assert code == 0


@pytest.mark.slow
def test_a_server_that_dies_at_any_statement_changes_no_byte_and_loses_no_row(
    postgres: Postgres, demo_folder: Path, recovered: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = made(recovered)
    with postgres.database("mortal") as owner:
        load(owner, demo_folder / "corpus.sqlite")
        base = Base(postgres, "mortal", owner)
        monkeypatch.setenv("RESPLICE_DATABASE_URL", base.url(WRITER))
        before = base.sql("SELECT video_id, validation_status FROM videos ORDER BY 1")

        def run(*fatal: int) -> tuple[int, list[Any]]:
            name = "-".join(map(str, fatal)) or "whole"
            corpus, statements = Corpus(demo_folder, tmp_path / name), Statements(postgres, fatal)
            with watched(statements, monkeypatch):
                until_done(corpus, "recover", "--yes")
                found = made(corpus)
                until_done(corpus, "finalize", "--statuses", "--apply")
                assert found == expected
            after = base.sql("SELECT video_id, validation_status FROM videos ORDER BY 1")
            for video, status in before:
                base.sql("UPDATE videos SET validation_status = %s WHERE video_id = %s", status, video)
            return statements.count, after

        total, after = run()
        assert after != before
        points = random.Random(SEED).sample(range(1, total + 1), POINTS)
        print(f"seed {SEED}: killed at statements {points} of {total}")
        for number in range(RUNS):
            _, found = run(*points[number::RUNS])
            assert found == after, points[number::RUNS]

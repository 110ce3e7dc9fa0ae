"""The user's database on a real PostgreSQL: the values of rows, one state for all readers, cut connections, rights."""

from __future__ import annotations

import itertools
import json
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import postgres
import psycopg
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from postgres import READER, WRITER, Base, grant

from resplice.io import database as connections
from resplice.io import rowtable
from resplice.io.database import connect, reading
from resplice.io.dbprobe import look
from resplice.io.rows import Row, Rows
from resplice.io.statuses import Statuses
from resplice.pipelines import doctor_checks, doctor_plugins
from resplice.transforms import checkup, provenance
from resplice.transforms.checkup import State
from resplice.transforms.records import SnapshotLost, Unavailable, UserError
from resplice.transforms.settings import Database

ROWS = """CREATE TABLE transcription_results (id bigint PRIMARY KEY, video_id text, segment_file text,
          transcription text, language text, duration_s double precision, created_at timestamp{more})"""
VIDEOS = "CREATE TABLE videos (video_id text PRIMARY KEY, status text, validation_status text, updated_at timestamp)"
INSERT = "INSERT INTO transcription_results (id, video_id, segment_file{names}) VALUES (%s, %s, %s{marks})"


def make(base: Base, rows: str = ROWS.format(more=""), videos: str = VIDEOS) -> Database:
    for statement in (rows, videos, "CREATE INDEX ON transcription_results (video_id)"):
        base.owner.execute(statement)
    grant(base.owner)
    return Database(url=base.url())


def fill(base: Base, *rows: tuple[Any, ...], names: str = "", marks: str = "") -> None:
    with base.owner.cursor() as cursor:
        cursor.executemany(INSERT.format(names=names, marks=marks), rows)


def as_table(rows: list[Row], db: Database) -> list[dict[str, Any]]:
    return rowtable.of_rows(rows, Rows(db).id_type).to_pylist()  # type: ignore[no-any-return]


def by_column(db: Database, ids: list[str]) -> list[dict[str, Any]]:
    reader = Rows(db)
    table = reader._rows_table()
    assert table.columnar
    query = reader._query(table, [sa.column("video_id").in_(ids)])
    return reader._by_column(table, query, None).to_pylist()  # type: ignore[no-any-return]


# Values

VALUES = [
    ("text", "größe \U0001f600 '\\%s:x", "größe \U0001f600 '\\%s:x"),
    ("text", None, None),
    ("text", "", ""),
    ("varchar(9)", "v", "v"),
    ("char(4)", "x", "x   "),
    ("numeric(10, 2)", "12.50", 12.5),
    ("numeric", "7", 7),
    ("numeric", "NaN", None),
    ("numeric", "Infinity", None),
    ("numeric", "1e400", None),
    ("numeric", "0.1234567890123456789", 0.12345678901234568),
    ("json", '{"b": [1, null], "a": "ä", "n": 1.10}', {"b": [1, None], "a": "ä", "n": 1.1}),
    ("json", '"12"', "12"),
    ("json", "null", None),
    ("jsonb", '{"b": 1, "a": 12345678901234567890}', {"a": 12345678901234567890, "b": 1}),
    ("timestamp", "2024-05-01 12:00:00.25", "2024-05-01T12:00:00.250000Z"),
    ("timestamp", "infinity", "infinity"),
    ("timestamp", "0044-03-15 12:00 BC", "0044-03-15 12:00:00 BC"),
    ("timestamptz", "2024-05-01 12:00:00+02", "2024-05-01T10:00:00Z"),
    ("timestamptz", "99999-01-01 00:00:00+00", "99999-01-01 00:00:00+00"),
    ("date", "2024-05-01", "2024-05-01"),
    ("date", "-infinity", "-infinity"),
    ("boolean", True, True),
    ("bytea", b"\x00\xff", "00ff"),
    ("double precision", 0.1, 0.1),
    ("double precision", float("nan"), None),
    ("double precision", float("-inf"), None),
    ("real", 0.1, 0.1),
    ("real", 1e30, 1e30),
    ("bigint", 2**63 - 1, 2**63 - 1),
    ("smallint", -5, -5),
    ("uuid", "A0EEBC99-9c0b-4ef8-bb6d-6bb9bd380a11", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
    ("mood", "sad", "sad"),
    ("integer[]", [1, None, 3], [1, None, 3]),
    ("text[]", ["ä", ""], ["ä", ""]),
    ("time", "12:30:00", "12:30:00"),
    ("interval", "1 day 02:00", "1 day, 2:00:00"),
    ("inet", "10.0.0.1", "10.0.0.1"),
]
SLOW = {"integer[]", "text[]", "time", "interval", "inet"}


@pytest.fixture(scope="session")
def typed(request: pytest.FixtureRequest) -> Iterator[tuple[Base, dict[str, Database]]]:
    """One rows table a type, with a row for each value of the table above."""
    server = request.getfixturevalue("postgres")
    with server.database("typed") as owner:
        base = Base(server, "typed", owner)
        owner.execute("CREATE TYPE mood AS ENUM ('sad', 'glad')")
        owner.execute(VIDEOS)
        made = {}
        for number, (kind, group) in enumerate(itertools.groupby(VALUES, key=lambda value: value[0])):
            table = f"rows_{number}"
            owner.execute(ROWS.format(more=f", value {kind}").replace("transcription_results", table))
            for n, (_, stored, _) in enumerate(group):
                insert = f"INSERT INTO {table} (id, video_id, segment_file, value) VALUES (%s, 'v', 'a', %s)"
                owner.execute(insert, [n, stored])
            made[kind] = Database(url=base.url(), rows_table=table)
        grant(owner)
        yield base, made


@pytest.mark.parametrize("kind", list(dict.fromkeys(kind for kind, _, _ in VALUES)))
def test_a_value_is_the_same_by_row_and_by_column(typed: tuple[Base, dict[str, Database]], kind: str) -> None:
    db = typed[1][kind]
    expected = [value for of, _, value in VALUES if of == kind]
    rows = list(Rows(db).among(["v"]))
    found = [row.columns["value"] for row in rows]
    assert found == expected
    assert list(map(type, found)) == list(map(type, expected))
    assert Rows(db)._rows_table().columnar == (kind not in SLOW)
    if kind not in SLOW:
        assert by_column(db, ["v"]) == as_table(rows, db)
    assert Rows(db).table(ids=["v"]).to_pylist() == as_table(rows, db)
    assert Rows(db).of(["v"])["v"] == rows


texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)
stored = st.tuples(
    st.sampled_from(["a", "A", "é", "z'\\", "100%", ":x", "\U0001f600"]),
    st.none() | texts,
    st.none() | st.floats() | st.sampled_from([1e308, 5e-324]),
    st.none() | st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-(10**20), max_value=10**20),
    st.none() | st.datetimes().map(lambda moment: moment.replace(fold=0)),
    st.none() | st.binary(max_size=4),
    st.none() | st.recursive(st.none() | st.booleans() | st.integers() | texts, lambda inner: st.lists(inner) |
                             st.dictionaries(texts, inner), max_leaves=4),
)  # fmt: skip


@settings(deadline=None, max_examples=20, suppress_health_check=list(HealthCheck))
@given(st.lists(stored, max_size=25))
def test_any_rows_have_one_digest_by_row_and_by_column(
    typed: tuple[Base, dict[str, Database]], rows: list[tuple[Any, ...]]
) -> None:
    base = typed[0]
    more = ", n numeric, at timestamptz, b bytea, j json"
    base.owner.execute("CREATE TABLE IF NOT EXISTS many" + ROWS.format(more=more).partition("results")[2])
    base.owner.execute("TRUNCATE many")
    grant(base.owner)
    for id_, (video, words, length, number, at, data, value) in enumerate(rows):
        text = None if value is None else json.dumps(value).replace("\\u0000", "0")
        base.owner.execute(
            "INSERT INTO many (id, video_id, segment_file, transcription, duration_s, n, at, b, j) "
            "VALUES (%s, %s, 'a', %s, %s, %s, %s, %s, %s)", [id_, video, words, length, number, at, data, text],
        )  # fmt: skip
    db, ids = Database(url=base.url(), rows_table="many"), sorted({row[0] for row in rows})
    slowly = list(Rows(db).among(ids))
    columns = by_column(db, ids)
    assert repr(columns) == repr(as_table(slowly, db))  # repr: NaN is not NaN
    assert provenance.digest_of(row["text"] for row in columns) == provenance.rows_digest(r.columns for r in slowly)
    assert [repr(row) for video in ids for row in Rows(db).of(ids)[video]] == [repr(row) for row in slowly]
    assert sorted(Rows(db).counts()) == sorted((video, sum(row[0] == video for row in rows)) for video in ids)


def test_a_session_of_other_habits_reads_the_same(database: Base) -> None:
    db = make(database, ROWS.format(more=", seen timestamptz, day date, f real"))
    database.owner.execute("INSERT INTO transcription_results VALUES "
                           "(1, 'v', 'a', '', '', 1, '2024-05-01', '2024-05-01 12:00Z', '2024-02-1', 0.1)")  # fmt: skip
    expected, columns = list(Rows(db).among(["v"])), by_column(db, ["v"])
    for setting in ("DateStyle TO 'SQL, DMY'", "TimeZone TO 'Asia/Kathmandu'", "extra_float_digits TO 0",
                    "standard_conforming_strings TO off", "client_encoding TO latin1"):  # fmt: skip
        database.owner.execute(f"ALTER ROLE {READER} IN DATABASE {database.name} SET {setting}")
    database.cut()
    assert list(Rows(db).among(["v"])) == expected
    assert by_column(db, ["v"]) == columns == as_table(expected, db)


# Ids

IDS = ["a", "A", "a b", "B", "b", "é", "z", "Z", "10", "9", "\U0001f600", "x_y", "x%y", "it's", "a\\b"]


@pytest.mark.parametrize("collation", ['"C"', '"und-x-icu"', '"en-x-icu"', "ignore"])
def test_ids_are_told_apart_and_sorted_by_code_point_whatever_the_collation(database: Base, collation: str) -> None:
    database.owner.execute(
        "CREATE COLLATION ignore (provider = icu, locale = 'und-u-ks-level1', deterministic = false)"
    )
    rows, videos = (
        sql.replace("video_id text", f"video_id text COLLATE {collation}") for sql in (ROWS.format(more=""), VIDEOS)
    )
    db = make(database, rows, videos.replace(" PRIMARY KEY", ""))
    fill(database, *((n, video, f"{n}.flac") for n, video in enumerate(IDS)))
    with database.owner.cursor() as cursor:
        cursor.executemany("INSERT INTO videos VALUES (%s, '', %s, NULL)", [(video, video) for video in IDS])
    reader = Rows(db)
    assert reader.counts() == [(video, 1) for video in sorted(IDS)]
    assert [row.video_id for row in reader.among(IDS)] == sorted(IDS)
    assert {video: [row.id for row in rows] for video, rows in reader.of(["a", "é"]).items()} == {"a": [0], "é": [5]}
    assert reader.statuses() == reader.status_of(IDS) == {video: video for video in IDS}
    assert Statuses(Database(url=database.url(WRITER))).set([("a", "A", "x"), ("A", "A", "y")]) == ["a"]
    assert reader.statuses() == {video: video for video in IDS} | {"A": "y"}


def test_rows_without_a_video_belong_to_the_empty_id(database: Base) -> None:
    db = make(database)
    fill(database, (1, None, "a"), (2, "", "b"), (3, "v", "c"), (4, None, "d"))
    assert Rows(db).counts() == [("", 3), ("v", 1)]
    assert {row.id for row in Rows(db).among([""])} == {1, 2, 4}
    assert [row.id for row in Rows(db).among(["v"])] == [3]


KEYS = {
    "bigint": ["10", "9", "-1"],
    "uuid": [str(uuid.UUID(int=n)) for n in (2, 1, 255)],
    "varchar(20)": ["b", "a"],
    "mood": ["sad", "glad"],
}


@pytest.mark.parametrize("kind", KEYS)
def test_video_ids_of_other_types_are_text_everywhere(database: Base, kind: str) -> None:
    database.owner.execute("CREATE TYPE mood AS ENUM ('sad', 'glad')")
    rows, videos = (sql.replace("video_id text", f"video_id {kind}") for sql in (ROWS.format(more=""), VIDEOS))
    db, ids = make(database, rows, videos), KEYS[kind]
    for n, video in enumerate(ids):
        database.owner.execute(f"INSERT INTO transcription_results (id, video_id) VALUES ({n}, '{video}')")
        database.owner.execute(f"INSERT INTO videos VALUES ('{video}', '', 'old')")
    reader, asked = Rows(db), [*ids, "no such", "010"]
    assert reader.counts() == [(video, 1) for video in sorted(ids)]
    assert [row.video_id for row in reader.among(asked)] == sorted(ids)
    assert [len(rows) for rows in reader.of(asked).values()] == [1] * len(ids) + [0, 0]
    assert reader.status_of(asked) == dict.fromkeys(ids, "old")
    changes = [(video, "old", "new") for video in ids] + [("no such", None, "new")]
    assert Statuses(Database(url=database.url(WRITER))).set(changes) == ["no such"]
    assert reader.statuses() == dict.fromkeys(ids, "new")


@pytest.mark.parametrize(
    ("kind", "ids", "expected"),
    [
        ("text", ["b", "B", "10", "9"], ["10", "9", "B", "b"]),
        ("uuid", [str(uuid.UUID(int=n)) for n in (2, 1)], [str(uuid.UUID(int=n)) for n in (1, 2)]),
        ("integer", [10, 9], [9, 10]),
        ("numeric", [10, 9], ["9", "10"]),
    ],
)
def test_rows_of_a_video_are_sorted_by_their_ids(
    database: Base, kind: str, ids: list[Any], expected: list[Any]
) -> None:
    db = make(database, ROWS.format(more="").replace("id bigint", f"id {kind}", 1))
    fill(database, *((id_, "v", "a") for id_ in ids))
    assert [row.id for row in Rows(db).among(["v"])] == expected
    assert Rows(db).id_type == ("int64" if kind == "integer" else "string")


@contextmanager
def listening(engine: sa.Engine, name: str, listener: Callable[..., None]) -> Iterator[None]:
    sa.event.listen(engine, name, listener)
    try:
        yield
    finally:
        sa.event.remove(engine, name, listener)


# One state, and connections that are cut


def many(base: Base, videos: int = 40, rows: int = 400) -> tuple[Database, list[str]]:
    """Fill a table with more rows than one page."""
    db = make(base)
    base.owner.execute(
        "INSERT INTO transcription_results (id, video_id, segment_file, transcription) "
        "SELECT n, 'v' || lpad((n / %s)::text, 4, '0'), n || '.flac', repeat('words ', 20) "
        "FROM generate_series(0, %s) AS n", [rows, videos * rows - 1],
    )  # fmt: skip
    return db, [f"v{n:04d}" for n in range(videos)]


def test_all_readers_of_a_snapshot_see_one_state(database: Base) -> None:
    db = make(database)
    fill(database, (1, "v", "a"))
    with Rows(db).frozen() as snapshot:
        fill(database, (2, "v", "b"))
        database.sql("INSERT INTO videos VALUES ('v', '', 'new', NULL)")
        frozen = Rows(db, snapshot)
        assert frozen.counts() == [("v", 1)]
        assert [row.id for row in frozen.among(["v"])] == [row.id for row in frozen.of(["v"])["v"]] == [1]
        assert frozen.statuses() == {}
        frozen.check_snapshot()
        assert Rows(db).counts() == [("v", 2)]


def test_a_reader_that_is_cut_goes_on_behind_the_last_video_in_the_same_state(database: Base) -> None:
    db, ids = many(database)
    holder = "SELECT pid FROM pg_stat_activity WHERE query LIKE '%%pg_export_snapshot()'"
    cut = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND pid NOT IN ({holder})"
    with Rows(db).frozen() as snapshot:
        found, cuts = [], 0
        for number, row in enumerate(Rows(db, snapshot).among(ids)):
            found.append(row.id)
            if number in (1000, 7000, 11_000):
                database.sql("UPDATE transcription_results SET id = -id WHERE id > 15000")
                cuts += len(database.sql(cut + " AND pid <> pg_backend_pid()", database.name))
    assert cuts >= 2
    assert found == list(range(16_000))


def test_a_snapshot_that_its_holder_lost_is_lost_for_all(database: Base) -> None:
    db = make(database)
    fill(database, (1, "v", "a"))
    with Rows(db).frozen() as snapshot:
        assert database.cut()
        with pytest.raises(SnapshotLost, match="run the same command again") as caught:
            list(Rows(db, snapshot).among(["v"]))
        assert caught.value.exit_code == 75
        with pytest.raises(SnapshotLost):
            Rows(db, snapshot).check_snapshot()


def test_a_server_that_stays_away_is_75_and_named_without_secrets(
    database: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "PATIENCE_S", 0.3)
    db = Database(url=f"postgresql://reader:Geheim-55@127.0.0.1:1/{database.name}")
    for ask in (lambda: Rows(db).counts(), lambda: Statuses(db).set([("v", None, "x")]), lambda: Rows(db).check()):
        with pytest.raises(Unavailable) as caught:
            ask()
        assert caught.value.exit_code == 75
        assert f"the database {database.name} on 127.0.0.1:1 cannot be reached" in caught.value.message
        assert "Geheim-55" not in repr(caught.value)


def test_a_server_that_comes_back_is_waited_for(database: Base) -> None:
    db = make(database)
    fill(database, (1, "v", "a"))
    assert Rows(db).counts() == [("v", 1)]
    database.server.kill()
    database.server.start()
    assert [row.id for row in Rows(db).of(["v"])["v"]] == [1]


# Statuses


def test_statuses_are_compared_and_set_in_one_statement(database: Base) -> None:
    make(database)
    for name, status in zip("abcde", ["x", "y", None, "", "x"], strict=True):
        database.sql("INSERT INTO videos VALUES (%s, 'done', %s, '2024-01-01')", name, status)
    changes = [("a", "x", "new"), ("b", "x", "new"), ("c", None, "new"), ("d", None, "new"), ("e", "x", None),
               ("gone", "x", "new")]  # fmt: skip
    writer = Statuses(Database(url=database.url(WRITER)))
    assert writer.set(changes) == ["b", "d", "gone"]
    assert writer.set([]) == []
    assert dict(database.sql("SELECT video_id, validation_status FROM videos")) == {
        "a": "new", "b": "y", "c": "new", "d": "", "e": None,
    }  # fmt: skip
    assert database.sql("SELECT DISTINCT status, updated_at::text FROM videos") == [("done", "2024-01-01 00:00:00")]


def test_a_commit_whose_answer_was_lost_counts_as_done(database: Base) -> None:
    make(database)
    database.sql("INSERT INTO videos VALUES ('a', '', 'x', NULL), ('b', '', 'other', NULL)")
    writer, lost = Statuses(Database(url=database.url(WRITER))), []

    def committed_already(connection: sa.Connection) -> None:
        if not lost:
            driver = connection.connection.driver_connection
            driver.commit()
            driver.execute("SELECT 1")  # opens the transaction whose COMMIT finds nobody
            lost.append(database.cut())

    with listening(connect(database.url(WRITER), True), "commit", committed_already):
        assert writer.set([("a", "x", "new"), ("b", "x", "new")]) == ["b"]
    assert lost


def test_a_reader_may_not_write_and_is_told_so(database: Base) -> None:
    make(database)
    with pytest.raises(UserError, match="cannot be written: permission denied for table videos") as caught:
        Statuses(Database(url=database.url(READER))).check()
    assert "\n" not in caught.value.message
    Statuses(Database(url=database.url(WRITER))).check()
    with (
        pytest.raises(UserError, match="read-only"),
        reading(connect(database.url(WRITER), False)) as connection,
    ):
        connection.execute(sa.text("UPDATE videos SET validation_status = 'x'"))


# Plans


def test_rows_of_some_videos_and_statuses_are_found_by_a_plain_index(database: Base) -> None:
    db, ids = many(database, 3000, 5)
    database.owner.execute("INSERT INTO videos SELECT DISTINCT video_id, '', '' FROM transcription_results")
    database.owner.execute("ANALYZE")
    plans: list[str] = []

    def explain(connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.startswith(("SELECT transcription", "SELECT videos", "UPDATE")):
            with psycopg.connect(database.url(WRITER)) as other:
                plans.append("\n".join(line for (line,) in other.execute("EXPLAIN " + statement, parameters)))

    with (
        listening(connect(database.url(), False), "before_cursor_execute", explain),
        listening(connect(database.url(WRITER), True), "before_cursor_execute", explain),
    ):
        Rows(db).of(ids[:3])
        Rows(db).status_of(ids[:3])
        Statuses(Database(url=database.url(WRITER))).set([(ids[0], "", "x"), (ids[1], "", "x")])
    assert len(plans) == 3
    assert all("Index" in plan and "Seq Scan" not in plan for plan in plans), "\n\n".join(plans)


# What doctor says


@pytest.mark.parametrize("indexed", [True, False])
def test_doctor_looks_at_tables_and_indexes(database: Base, indexed: bool) -> None:
    db = make(database)
    if not indexed:
        database.owner.execute("DROP INDEX transcription_results_video_id_idx")
    fill(database, (1, "v", "a"))
    facts = look(db)
    assert (facts.rows, facts.videos) == (True, False)
    assert facts.where == f"the database {database.name} on 127.0.0.1:{database.server.port}"
    [finding] = [checkup.indexes(facts.unindexed)]
    if indexed:
        assert finding.state == State.OK
    else:
        assert finding.state == State.WARNING
        database.owner.execute(finding.remedy)
        assert look(db).unindexed == ()


def test_an_extra_is_there_only_with_all_its_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> str:
        return " ".join(finding.found for finding in doctor_plugins.optional(None))

    assert "postgres" not in absent()
    real = doctor_checks._version
    monkeypatch.setattr(doctor_checks, "_version", lambda name: None if name == "psycopg" else real(name))
    assert "postgres: not installed" in absent()


def test_without_the_driver_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    for scheme in ("postgresql", "postgresql+psycopg"):
        with pytest.raises(UserError) as caught:
            Rows(Database(f"{scheme}://somebody@127.0.0.1:1/never_{scheme[-1]}")).check()
        assert caught.value.message == "database.url: no driver for PostgreSQL: pip install 'resplice[postgres]'"


# The tests themselves


@pytest.mark.parametrize(("ci", "outcome"), [("true", pytest.fail.Exception), ("", pytest.skip.Exception)])
def test_missing_programs_skip_the_tests_or_fail_them_in_ci(
    monkeypatch: pytest.MonkeyPatch, ci: str, outcome: type[BaseException]
) -> None:
    monkeypatch.setattr(postgres, "programs", lambda: None)
    monkeypatch.setenv("CI", ci)
    with pytest.raises(outcome, match="apt install postgresql"):
        postgres.demand()

"""The user's database, as real SQLite files: what is read, in which order, and that nothing is ever written unasked."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resplice.io import columnar, rows, rowtable, tables
from resplice.io.database import connect, reading, translated, version
from resplice.io.rows import Row, Rows
from resplice.io.statuses import Statuses
from resplice.transforms.provenance import shown
from resplice.transforms.ranges import limits, partition
from resplice.transforms.records import UserError
from resplice.transforms.settings import Columns, Database, VideoColumns

ROWS = """create table transcription_results (id integer primary key, video_id text, segment_file text,
          transcription text, language text, duration_s real, created_at datetime{more})"""
VIDEOS = "create table videos (video_id text, status text, validation_status text, updated_at text)"


def database(
    folder: Path,
    *,
    rows: str = ROWS.format(more=""),
    videos: str = VIDEOS,
    execute: Iterable[tuple[str, Sequence[Any]]] = (),
) -> Database:
    path = folder / "corpus.sqlite"
    path.unlink(missing_ok=True)
    connection = sqlite3.connect(path)
    for statement in (rows, videos):
        connection.execute(statement)
    for statement, values in execute:
        connection.execute(statement, values)
    connection.commit()
    connection.close()
    return Database(url=f"sqlite:///{path}")


def insert(**values: Any) -> tuple[str, Sequence[Any]]:
    marks = ", ".join("cast(? as text)" if isinstance(value, bytes) else "?" for value in values.values())
    return f"insert into transcription_results ({', '.join(values)}) values ({marks})", list(values.values())


def row(n: int, video: Any, **more: Any) -> tuple[str, Sequence[Any]]:
    return insert(id=n, video_id=video, segment_file=f"{n}.flac", **more)


def video(name: Any, status: Any = None) -> tuple[str, Sequence[Any]]:
    return "insert into videos values (?, 'done', ?, 'now')", [name, status]


def everything(db: Database) -> list[Row]:
    return list(Rows(db).between(None, None))


def bytes_of(db: Database) -> bytes:
    return Path(db.url.removeprefix("sqlite:///")).read_bytes()


# What a row holds


def test_a_row_has_its_columns_also_those_that_only_the_user_knows(tmp_path: Path) -> None:
    values = {
        "transcription": "größe",
        "language": "de",
        "duration_s": 1.5,
        "created_at": "2024-05-01 12:00:00",
        "speaker": "x",
    }
    db = database(tmp_path, rows=ROWS.format(more=", speaker text"), execute=[row(7, "v", **values)])
    assert everything(db) == [
        Row(7, "v", "7.flac", "größe", 1.5, {
            "id": 7, "video_id": "v", "segment_file": "7.flac", **values, "created_at": "2024-05-01T12:00:00Z",
        })
    ]  # fmt: skip


MORE = ", score numeric(10, 2), price decimal, tags json, seen timestamp, note text, count integer"


@pytest.mark.parametrize(
    ("column", "stored", "expected"),
    [
        ("created_at", "2024-05-01 12:00:00", "2024-05-01T12:00:00Z"),
        ("created_at", "2024-05-01T12:00:00+02:00", "2024-05-01T10:00:00Z"),
        ("created_at", "2024-05-01 12:00:00.250000", "2024-05-01T12:00:00.250000Z"),
        ("created_at", "soon", "soon"),
        ("created_at", None, None),
        ("seen", "2024-05-01 12:00:00", "2024-05-01T12:00:00Z"),
        ("note", "2024-05-01 12:00:00", "2024-05-01 12:00:00"),
        ("score", "0.25", 0.25),
        ("score", 3, 3),
        ("price", "12.50", 12.5),
        ("price", "cheap", "cheap"),
        ("price", None, None),
        ("tags", '{"b": [1, null], "a": "ä"}', {"b": [1, None], "a": "ä"}),
        ("tags", "[]", []),
        ("tags", "null", None),
        ("tags", '"text"', "text"),
        ("tags", "{broken", "{broken"),
        ("tags", None, None),
        ("note", '{"a": 1}', '{"a": 1}'),
        ("note", "12", "12"),
        ("count", 2**53 + 1, 2**53 + 1),
    ],
)
def test_dates_decimals_and_json_become_json(tmp_path: Path, column: str, stored: Any, expected: Any) -> None:
    db = database(tmp_path, rows=ROWS.format(more=MORE), execute=[row(1, "v", **{column: stored})])
    value = everything(db)[0].columns[column]
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize("stored", ['{"a": "\\ud800"}', '"\\udce9"', '{"\\ud800": 1}'])
def test_a_json_column_with_half_a_character_is_still_json_in_utf_8(tmp_path: Path, stored: str) -> None:
    db = database(tmp_path, rows=ROWS.format(more=MORE), execute=[row(1, "v", tags=stored)])
    json.dumps(everything(db)[0].columns, ensure_ascii=False, allow_nan=False).encode()


def test_text_that_is_not_utf_8_is_read_and_shown_with_escapes(tmp_path: Path) -> None:
    raw = b"caf\xe9.flac"
    db = database(tmp_path, execute=[insert(id=1, video_id="v", segment_file=raw, transcription=raw, language=b"\xff")])
    found = everything(db)[0]
    assert found.segment_file == "caf\udce9.flac"  # a lone surrogate, so that names can refuse it
    assert shown(found.segment_file) == found.transcription == found.columns["segment_file"] == "caf\\xe9.flac"
    json.dumps(found.columns, ensure_ascii=False).encode()


def test_bytes_that_are_not_utf_8_in_a_json_column_are_shown(tmp_path: Path) -> None:
    db = database(tmp_path, rows=ROWS.format(more=MORE), execute=[row(1, "v", tags=b'{"a": "\xe9"}')])
    json.dumps(everything(db)[0].columns, ensure_ascii=False).encode()


def test_a_blob_is_read_like_text(tmp_path: Path) -> None:
    db = database(
        tmp_path,
        execute=[
            ("insert into transcription_results (id, video_id, segment_file) values (1, 'v', x'612e666c6163')", [])
        ],
    )
    assert everything(db)[0].segment_file == "a.flac"


def test_nulls_are_empty_names_and_unknown_durations(tmp_path: Path) -> None:
    db = database(tmp_path, execute=[insert(id=1)])
    found = everything(db)[0]
    assert (found.video_id, found.segment_file, found.transcription, found.duration_s) == ("", "", "", None)
    assert found.columns["video_id"] is None
    assert Rows(db).counts() == [("", 1)]


@pytest.mark.parametrize(
    ("declared", "stored", "expected"),
    [("real", 1.5, 1.5), ("integer", 2, 2.0), ("text", "1.5", 1.5), ("numeric", "1.5", 1.5), ("text", "long", None)],
)
def test_a_duration_is_a_number_or_unknown(tmp_path: Path, declared: str, stored: Any, expected: float | None) -> None:
    rows = ROWS.format(more="").replace("duration_s real", f"duration_s {declared}")
    db = database(tmp_path, rows=rows, execute=[row(1, "v", duration_s=stored)])
    assert everything(db)[0].duration_s == expected


def test_a_table_may_have_no_duration(tmp_path: Path) -> None:
    rows = ROWS.format(more="").replace("duration_s real, ", "")
    db = database(tmp_path, rows=rows, execute=[row(1, "v")])
    db = Database(db.url, columns=Columns(duration_s=""))
    Rows(db).check()
    assert everything(db)[0].duration_s is None


def test_names_of_tables_and_columns_are_settings(tmp_path: Path) -> None:
    columns = '"order" integer, vid text, "seg file" text, txt text, lang text, dur real, made text'
    rows = f'create table "my rows" ({columns})'
    videos = "create table v (id text, s text, vs text, u text)"
    db = database(tmp_path, rows=rows, videos=videos, execute=[
        ('insert into "my rows" values (5, ?, ?, ?, ?, 2.0, ?)', ["x", "a.flac", "t", "en", "2024-05-01"]),
        ("insert into v values ('x', 'a', 'b', 'c')", []),
    ])  # fmt: skip
    db = Database(db.url, "my rows", "v", Columns("order", "vid", "seg file", "txt", "lang", "dur", "made"),
                  VideoColumns("id", "s", "vs", "u"))  # fmt: skip
    Rows(db).check()
    found = everything(db)[0]
    assert (found.id, found.video_id, found.segment_file, found.duration_s) == (5, "x", "a.flac", 2.0)
    assert Rows(db).statuses() == {"x": "b"}


# Ids


def test_row_ids_are_integers_or_text_as_the_column_says(tmp_path: Path) -> None:
    whole = database(tmp_path, execute=[row(7, "v")])
    assert (Rows(whole).id_type, everything(whole)[0].id) == ("int64", 7)
    (tmp_path / "t").mkdir()
    text = ROWS.format(more="").replace("id integer primary key", "id text")
    named = database(tmp_path / "t", rows=text, execute=[insert(id="0007", video_id="v", segment_file="a")])
    assert (Rows(named).id_type, everything(named)[0].id) == ("string", "0007")


def test_an_integer_id_that_holds_text_is_the_users_error(tmp_path: Path) -> None:
    rows = ROWS.format(more="").replace("id integer primary key", "id integer")
    db = database(tmp_path, rows=rows, execute=[insert(id="seven", video_id="v", segment_file="a")])
    with pytest.raises(UserError, match="seven"):
        everything(db)


def test_integer_video_ids_are_text_everywhere_and_sorted_as_text(tmp_path: Path) -> None:
    rows, videos = (sql.replace("video_id text", "video_id integer") for sql in (ROWS.format(more=""), VIDEOS))
    db = database(tmp_path, rows=rows, videos=videos, execute=[
        *(row(n, vid) for n, vid in enumerate([10, 9, 10, 100])), video(9, "a"), video(10, "b"),
    ])  # fmt: skip
    reader = Rows(db)
    assert reader.counts() == [("10", 2), ("100", 1), ("9", 1)]
    assert [r.video_id for r in reader.between("10", "9")] == ["100", "9"]
    assert [r.id for r in reader.of(["10"])["10"]] == [0, 2]
    assert reader.statuses() == reader.status_of(["9", "10"]) == {"9": "a", "10": "b"}
    assert Statuses(db).set([("10", "b", "validated")]) == []
    assert reader.status_of(["10"]) == {"10": "validated"}


@pytest.mark.parametrize("collation", ["", " collate nocase", " collate rtrim"])
def test_ids_that_differ_in_case_or_blanks_are_two_videos_whatever_the_collation(
    tmp_path: Path, collation: str
) -> None:
    ids = ["a", "A", "a ", "b", "B"]
    rows, videos = (sql.replace("video_id text", f"video_id text{collation}") for sql in (ROWS.format(more=""), VIDEOS))
    videos = videos.replace("validation_status text", f"validation_status text{collation}")
    db = database(tmp_path, rows=rows, videos=videos,
                  execute=[*(row(n, vid) for n, vid in enumerate(ids)), *(video(vid, vid) for vid in ids)])  # fmt: skip
    reader = Rows(db)
    assert reader.counts() == [("A", 1), ("B", 1), ("a", 1), ("a ", 1), ("b", 1)]
    assert [r.video_id for r in reader.between(None, None)] == ["A", "B", "a", "a ", "b"]
    assert [r.video_id for r in reader.between("B", "a ")] == ["a", "a "]
    assert {vid: [r.id for r in found] for vid, found in reader.of(["a", "B"]).items()} == {"a": [0], "B": [4]}
    assert reader.statuses() == {vid: vid for vid in ids}
    assert reader.status_of(["a"]) == {"a": "a"}
    writer = Statuses(db)
    assert writer.set([("a", "A", "x"), ("A", "A", "y")]) == ["a"]
    assert reader.statuses() == {"a": "a", "A": "y", "a ": "a ", "b": "b", "B": "B"}


def test_like_wildcards_are_letters(tmp_path: Path) -> None:
    db = database(tmp_path, execute=[row(1, "a_b"), row(2, "axb"), row(3, "a%"), row(4, "a'b;--")])
    found = Rows(db).of(["a_b", "a%", "a'b;--"])
    assert {vid: [r.id for r in rows] for vid, rows in found.items()} == {"a_b": [1], "a%": [3], "a'b;--": [4]}


# Reading in parts


def test_rows_come_sorted_by_video_and_id(tmp_path: Path) -> None:
    order = [(9, "b"), (10, "b"), (2, "b"), (1, "é"), (3, "Z"), (4, "z")]
    db = database(tmp_path, execute=[row(n, vid) for n, vid in order])
    assert [(r.video_id, r.id) for r in everything(db)] == [("Z", 3), ("b", 2), ("b", 9), ("b", 10), ("z", 4), ("é", 1)]


def test_a_video_without_rows_has_none_and_many_ids_are_asked_in_parts(tmp_path: Path) -> None:
    ids = [f"v{n:04d}" for n in range(1200)]
    db = database(tmp_path, execute=[row(n, ids[n % 1000]) for n in range(6000)])
    found = Rows(db).of(ids)
    assert list(found) == ids
    assert [len(found[vid]) for vid in ids] == [6] * 1000 + [0] * 200
    assert len(everything(db)) == 6000


video_ids = st.one_of(
    st.none(), st.text("abZé_0\U0001f600", max_size=3), st.sampled_from([b"\xe9", b"a\xff", b"\xf0\x9f\x98"])
)


@settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(video_ids, max_size=60))
def test_the_ranges_of_a_partition_hold_every_row_exactly_once(tmp_path: Path, ids: list[Any]) -> None:
    db = database(tmp_path, execute=[row(n, vid) for n, vid in enumerate(ids)])
    reader = Rows(db)
    counts = reader.counts()
    assert sum(count for _, count in counts) == len(ids)
    bounds = partition(dict(counts))
    parts = [[r.id for r in reader.between(*limits(bounds, index))] for index in range(len(bounds) + 1)]
    assert sorted(id_ for part in parts for id_ in part) == list(range(len(ids)))
    of_video = [{r.video_id for r in reader.between(*limits(bounds, index))} for index in range(len(bounds) + 1)]
    assert sum(map(len, of_video)) == len(set().union(*of_video))


def test_statuses_are_those_of_the_videos_table(tmp_path: Path) -> None:
    db = database(tmp_path, execute=[video("a", "validation_failed"), video("b"), video("c", ""), row(1, "d")])
    assert Rows(db).statuses() == {"a": "validation_failed", "b": None, "c": ""}
    assert Rows(db).status_of(["a", "b", "d"]) == {"a": "validation_failed", "b": None}


# Writing


def test_reading_writes_nothing_and_a_reader_cannot_write(tmp_path: Path) -> None:
    db = database(tmp_path, execute=[row(1, "v"), video("v", "old")])
    before, reader = bytes_of(db), Rows(db)
    reader.check()
    reader.counts(), reader.statuses(), reader.of(["v"]), reader.status_of(["v"]), list(reader.between(None, None))
    with pytest.raises(UserError, match="readonly"), reading(connect(db.url, False)) as connection:
        connection.execute(sa.text("update videos set validation_status = 'validated'"))
    assert reader.status_of(["v"]) == {"v": "old"}
    assert bytes_of(db) == before
    assert [path.name for path in tmp_path.iterdir()] == ["corpus.sqlite"]


def test_a_status_is_set_only_where_it_is_what_was_expected(tmp_path: Path) -> None:
    db = database(
        tmp_path, execute=[video(vid, status) for vid, status in zip("abcde", ["x", "y", None, "", "x"], strict=True)]
    )
    changes = [
        ("a", "x", "new"),
        ("b", "x", "new"),
        ("c", None, "new"),
        ("d", None, "new"),
        ("e", "x", None),
        ("gone", "x", "new"),
    ]
    assert Statuses(db).set(changes) == ["b", "d", "gone"]
    assert Rows(db).statuses() == {"a": "new", "b": "y", "c": "new", "d": "", "e": None}


def test_only_the_validation_status_is_written(tmp_path: Path) -> None:
    db = database(tmp_path, execute=[video("a", "x"), video("b", "x"), row(1, "a")])
    before = everything(db)
    Statuses(db).set([("a", "x", "new")])
    connection = sqlite3.connect(db.url.removeprefix("sqlite:///"))
    found = connection.execute("select video_id, status, validation_status from videos order by 1").fetchall()
    connection.close()
    assert found == [("a", "done", "new"), ("b", "done", "x")]
    assert everything(db) == before


# What is missing


def test_a_missing_table_is_named_with_those_that_are_there(tmp_path: Path) -> None:
    db = database(tmp_path)
    with pytest.raises(UserError) as caught:
        Rows(Database(db.url, rows_table="results")).check()
    for part in ("results", "transcription_results", "videos", "[database]"):
        assert part in str(caught.value)
    with pytest.raises(UserError, match="clips"):
        Rows(Database(db.url, videos_table="clips")).check()


@pytest.mark.parametrize(
    "column", ["id", "video_id", "segment_file", "transcription", "language", "duration_s", "created_at"]
)
def test_a_missing_column_is_named_with_the_key_that_sets_it(tmp_path: Path, column: str) -> None:
    db = database(tmp_path)
    with pytest.raises(UserError) as caught:
        Rows(Database(db.url, columns=Columns(**{column: "other"}))).check()
    for part in ("other", "transcription_results", f"database.columns.{column}"):
        assert part in str(caught.value)


@pytest.mark.parametrize("column", ["video_id", "status", "validation_status", "updated_at"])
def test_a_missing_column_of_the_videos_table_is_named_too(tmp_path: Path, column: str) -> None:
    db = database(tmp_path)
    with pytest.raises(UserError, match=f"database.video_columns.{column}"):
        Rows(Database(db.url, video_columns=VideoColumns(**{column: "other"}))).check()


@pytest.mark.parametrize("content", [None, b"this is no database, but a file " * 40])
def test_a_file_that_is_no_database_is_the_users_error_and_is_not_made(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "other.sqlite"
    if content:
        path.write_bytes(content)
    with pytest.raises(UserError):
        Rows(Database(f"sqlite:///{path}")).check()
    assert path.exists() == bool(content)


@pytest.mark.parametrize("url", ["no url", "oracle+nothing://host/db"])
def test_a_url_that_names_no_database_is_the_users_error(url: str) -> None:
    with pytest.raises(UserError, match=r"database\.url"):
        Rows(Database(url)).check()


@pytest.mark.parametrize("mode", ["delete", "wal", "persist"])
def test_the_version_of_the_database_changes_with_every_commit(tmp_path: Path, mode: str) -> None:
    db = database(tmp_path, execute=[row(1, "v")])
    connection = sqlite3.connect(tmp_path / "corpus.sqlite", isolation_level=None)
    connection.execute(f"pragma journal_mode = {mode}")
    connection.execute(*row(2, "v"))
    rows = Rows(db)
    before = rows.version
    assert len(everything(db)) == 2
    assert mode == "wal" or rows.version == before  # readers touch the log, too; then rows are read once more
    connection.execute("update transcription_results set transcription = 'x' where id = 2")
    assert rows.version != before
    connection.close()


def test_a_database_on_a_server_has_no_version() -> None:
    assert version("postgresql://somebody@localhost/corpus") == ""


def test_a_query_is_of_one_answer_about_the_table_however_many_threads_asked_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = database(tmp_path, execute=[row(1, "a"), row(2, "b"), video("a", "validated")])
    monkeypatch.setattr(tables, "reflect", tables.reflect.__wrapped__)  # threads that ask first get one answer each
    monkeypatch.setattr(rows, "reflect", tables.reflect)
    reader = Rows(db)
    assert reader.counts() == [("a", 1), ("b", 1)]
    assert [found.id for found in reader.between(None, "a")] == [found.id for found in reader.among(["a"])] == [1]
    assert [reader.table("a").num_rows, reader.table(ids=["a", "b"]).num_rows] == [1, 2]
    assert reader.status_of(["a"]) == reader.statuses() == {"a": "validated"}
    assert [len(found) for found in reader.of(["a", "c"]).values()] == [1, 0]


# By column


def table(db: Database) -> list[dict[str, Any]]:
    return Rows(db).table().to_pylist()  # type: ignore[no-any-return]


def by_row(db: Database) -> list[dict[str, Any]]:
    return rowtable.of_rows(everything(db), Rows(db).id_type).to_pylist()  # type: ignore[no-any-return]


stored = st.one_of(
    st.none(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), st.text(max_size=4),
    st.binary(max_size=3), st.sampled_from(["2024-05-01 12:00:00", "1.50", '{"a": [1]}', "a\0b", "\U0001f600"]),
)  # fmt: skip
alike = st.one_of(
    *(
        st.lists(st.none() | kind, max_size=8)
        for kind in (st.integers(-5, 2**62), st.floats(-9, 9), st.text(max_size=3))
    )
)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(stored, max_size=8) | alike, st.sampled_from(["note", "count", "score", "tags", "seen", "duration_s"]))
def test_rows_are_the_same_by_row_and_by_column(tmp_path: Path, values: list[Any], column: str) -> None:
    try:
        rows = [row(n, f"v{n // 3}", **{column: value}) for n, value in enumerate(values)]
        db = database(tmp_path, rows=ROWS.format(more=MORE), execute=rows)
    except UnicodeEncodeError:  # half a character: SQLite's own module refuses it
        return
    assert repr(table(db)) == repr(by_row(db))  # repr: NaN is not NaN


@pytest.mark.parametrize(
    ("values", "fits"),
    [
        (["a", "b", None], True),
        ([1, 2, None], True),
        ([1.5, 2.0], True),
        ([None] * 40_000 + ["late"], None),
        ([1, 1.5], False),
        ([1, "a"], False),
        (["a", b"caf\xe9"], False),
        ([memoryview(b"a")], False),
    ],
)
def test_by_column_is_left_where_it_would_change_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, values: list[Any], fits: bool | None
) -> None:
    rows = [row(n, f"v{n}", note=value) for n, value in enumerate(values)]
    db = database(tmp_path, rows=ROWS.format(more=", note"), execute=rows)
    real, ends = columnar.batches, []

    def watched(*arguments: Any) -> Iterator[Any]:
        try:
            yield from real(*arguments)
            ends.append(True)
        except columnar.Unfit:
            ends.append(False)
            raise

    monkeypatch.setattr(columnar, "batches", watched)
    found = table(db)
    assert fits is None or ends == [fits]
    assert found == by_row(db)
    assert len(found) == len(values)


def test_a_database_without_room_is_exit_75(tmp_path: Path) -> None:
    file = tmp_path / "full.sqlite"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("create table videos (video_id text)")
        connection.commit()
        connection.execute(f"pragma max_page_count = {connection.execute('pragma page_count').fetchone()[0]}")
        with pytest.raises(sqlite3.OperationalError, match="full") as full:
            connection.execute("insert into videos values (?)", ("x" * 100_000,))
    error = sa.exc.OperationalError("update", {}, full.value)
    told = translated(connect(f"sqlite:///{file}", True), error, "written")
    assert told.exit_code == 75
    assert "cannot be written: database or disk is full" in str(told) and "run the same command again" in str(told)

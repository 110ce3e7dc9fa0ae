"""Live results by range: statuses of every spelling, dropped videos, absent columns, and rows that nobody loses."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resplice.io import live, progress, shards
from resplice.io.context import Context
from resplice.io.live import CountVideos, IndexShards, LiveRow, Spill, read_spills, rows_of
from resplice.transforms.provenance import Run
from resplice.transforms.ranges import range_of
from resplice.transforms.records import UserError
from resplice.transforms.replace import HISTORY, RUN, Shard
from resplice.transforms.settings import Corpus, History, Settings

TEXT = pa.string()


@pytest.fixture
def context(tmp_path: Path) -> Context:
    corpus = Corpus(workspace=str(tmp_path / "workspace"), validation=str(tmp_path / "validation"))
    return Context(Run("r", str(tmp_path), "plan", "digest"), Settings(corpus=corpus))


def with_history(context: Context, **values: Any) -> Context:
    return replace(context, settings=replace(context.settings, history=History(**values)))


def history(context: Context, name: str = "h.parquet", drop: tuple[str, ...] = (), **columns: Any) -> Shard:
    table = pa.table(columns)
    context.validation.store.replace(name, shards.encode(table, {}), None)
    return Shard(name, "1", HISTORY, "", len(table), drop=drop)


def of_run(context: Context, run_id: str = "r1", drop: tuple[str, ...] = (), **columns: Any) -> Shard:
    table, key = pa.table(columns), f"objects/{run_id}"
    context.workspace.store.replace(key, shards.encode(table, {}), None)
    return Shard("0", "", RUN, run_id, len(table), key, "", drop)


def spilled(context: Context, found: Sequence[Shard], bounds: Sequence[str] = ()) -> list[tuple[int, Spill]]:
    index = IndexShards(context, "plan", bounds)
    return [spill for group in live.groups(found) for spill in index(group)]


def counts(context: Context, *found: Shard) -> dict[str, int]:
    count = CountVideos(context, "baseline", ())
    spills = [spill for group in live.groups(found) for _, spill in count(group)]
    rows = [row for _, batch in read_spills(context.workspace.store, spills) for row in batch.to_pylist()]
    return {row["video_id"]: row["rows"] for row in rows}


def read(context: Context, spills: Iterable[Spill]) -> list[LiveRow]:
    return [row for one in read_spills(context.workspace.store, spills) for row in rows_of(*one)]


def live_rows(context: Context, *found: Shard) -> list[LiveRow]:
    return read(context, [spill for _, spill in spilled(context, found)])


# Statuses


def test_statuses_of_history_are_mapped_and_any_other_is_unjudged(context: Context) -> None:
    said = ["passed", "failed", "error", "PASSED", "", None, "warn"]
    shard = history(context, video_id=["v"] * 7, segment_file=[str(n) for n in range(7)], status=said)
    assert [row.status for row in live_rows(context, shard)] == [
        "passed", "failed", "error", "unjudged", "unjudged", "unjudged", "unjudged",
    ]  # fmt: skip


def test_the_spelling_of_statuses_and_their_column_are_settings(context: Context) -> None:
    context = with_history(context, status_column="verdict", passed=("ok", "fine"), failed=("bad",), error=())
    verdicts = ["ok", "fine", "bad", "error", "passed"]
    shard = history(context, video_id=["v"] * 5, segment_file=list("abcde"), verdict=verdicts, status=["passed"] * 5)
    assert [row.status for row in live_rows(context, shard)] == ["passed", "passed", "failed", "unjudged", "unjudged"]


def test_without_the_status_column_every_row_counts_as_a_result_without_a_status(context: Context) -> None:
    shard = history(context, video_id=["v", "w"], segment_file=["a", "b"])
    assert [(row.video_id, row.status) for row in live_rows(context, shard)] == [("v", "unjudged"), ("w", "unjudged")]


def test_the_settings_of_history_do_not_concern_the_results_of_runs(context: Context) -> None:
    context = with_history(context, status_column="verdict", passed=("ok",), failed=("no",), error=())
    said = ["passed", "failed", "error"]
    columns = {"status": said, "verdict": ["ok"] * 3, "reasons": pa.array([[], [], []], pa.list_(TEXT))}
    shard = of_run(context, video_id=["v"] * 3, segment_file=list("abc"), **columns)
    assert [row.status for row in live_rows(context, shard)] == said


def test_results_of_a_run_have_their_reasons_and_those_of_history_none(context: Context) -> None:
    reasons = pa.array([["silent", "too_short"], [], None], pa.list_(TEXT))
    ours = of_run(
        context, video_id=["v"] * 3, segment_file=list("abc"), status=["failed", "passed", "passed"], reasons=reasons
    )
    theirs = history(context, video_id=["v"], segment_file=["a"], status=["failed"], reasons=["silent"])
    assert [row.reasons for row in live_rows(context, ours, theirs)] == [("silent", "too_short"), (), (), ()]


def test_a_run_s_shard_without_reasons_has_none(context: Context) -> None:
    shard = of_run(context, video_id=["v"], segment_file=["a"], status=["failed"])
    assert [row.reasons for row in live_rows(context, shard)] == [()]


# Names, origins, order


def test_a_result_knows_its_name_as_it_stands_its_origin_and_its_run(context: Context) -> None:
    theirs = history(context, video_id=["v"], segment_file=["X.flac_split0"], status=["passed"])
    ours = of_run(context, "r9", video_id=["v"], segment_file=["X_split0"], status=["passed"])
    assert live_rows(context, theirs, ours) == [
        LiveRow("v", "X.flac_split0", "passed", (), HISTORY, ""),
        LiveRow("v", "X_split0", "passed", (), RUN, "r9"),
    ]


def test_results_come_in_the_order_of_the_shards_whatever_the_order_of_the_spills(context: Context) -> None:
    found = [history(context, f"{n}.parquet", video_id=["v"], segment_file=[str(n)]) for n in range(12)]
    spills = [spill for _, spill in spilled(context, found)]
    assert [row.name for row in read(context, spills[::-1])] == [str(n) for n in range(12)]


def test_a_result_without_a_video_or_a_name_is_still_a_result(context: Context) -> None:
    shard = history(context, video_id=pa.array([None, "v"], TEXT), segment_file=pa.array(["a", None], TEXT))
    assert sorted((row.video_id, row.name) for row in live_rows(context, shard) if row.name) == [("", "a")]
    assert [row.video_id for row in live_rows(context, shard) if row.name is None] == ["v"]


@given(st.lists(st.tuples(st.integers(0, 150_000), st.sampled_from(["", "a", "b"])), max_size=600))
def test_shards_are_grouped_in_their_order_by_run_within_bounds(sizes: list[tuple[int, str]]) -> None:
    found = [Shard(str(n), "1", RUN if run else HISTORY, run, rows) for n, (rows, run) in enumerate(sizes)]
    groups = live.groups(found)
    assert [shard for _, group in groups for shard in group] == found
    for rank, group in groups:
        assert found[rank] == group[0]
        assert len({shard.run_id for shard in group}) == 1
        assert len(group) == 1 or sum(shard.rows for shard in group) <= live.MAX_ROWS
        assert len(group) <= live.MAX_SHARDS


# Drops


def test_rows_of_dropped_videos_do_not_live(context: Context) -> None:
    shard = history(context, drop=("b", "gone"), video_id=["a", "b", "c", "b", "B"], segment_file=list("12345"))
    assert sorted(row.video_id for row in live_rows(context, shard)) == ["B", "a", "c"]
    assert counts(context, shard) == {"a": 1, "c": 1, "B": 1}


def test_a_shard_whose_videos_were_all_dropped_has_no_spill(context: Context) -> None:
    shard = history(context, drop=("a",), video_id=["a", "a"], segment_file=["1", "2"])
    assert spilled(context, [shard]) == []
    assert counts(context, shard) == {}


def test_an_empty_shard_has_no_spill(context: Context) -> None:
    shard = history(context, video_id=pa.array([], TEXT), segment_file=pa.array([], TEXT))
    assert spilled(context, [shard]) == []


# Ranges


def test_each_range_has_the_results_of_its_own_videos(context: Context) -> None:
    ids = ["d", "a", "c", "b", "a", "z"]
    shard = history(context, video_id=ids, segment_file=[str(n) for n in range(6)])
    found = spilled(context, [shard], ("a", "c"))
    names = {index: [(row.video_id, row.name) for row in read(context, [spill])] for index, spill in found}
    assert names == {0: [("a", "1"), ("a", "4")], 1: [("b", "3"), ("c", "2")], 2: [("d", "0"), ("z", "5")]}
    assert {index: spill.rows for index, spill in found} == {0: 2, 1: 2, 2: 2}


ids = st.sampled_from(["a", "b", "A", "é", "", "zz", "\U0001f600"])
contents = st.lists(st.lists(ids, max_size=12), max_size=4)


@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(contents, st.sets(ids, max_size=4), st.sets(ids, max_size=2))
def test_every_live_row_is_in_the_range_of_its_video_exactly_once(
    context: Context, videos: list[list[str]], bounds: set[str], dropped: set[str]
) -> None:
    found, expected = [], []
    for rank, column in enumerate(videos):
        names = [f"{rank}-{n}" for n in range(len(column))]
        columns = {"video_id": pa.array(column, TEXT), "segment_file": pa.array(names, TEXT)}
        found.append(history(context, f"{rank}.parquet", tuple(sorted(dropped)), **columns))
        expected += [(video, name) for video, name in zip(column, names, strict=True) if video not in dropped]
    ordered, seen = tuple(sorted(bounds)), []
    for index, spill in spilled(context, found, ordered):
        rows = read(context, [spill])
        assert {range_of(ordered, row.video_id) for row in rows} == {index}
        assert len(rows) == spill.rows
        seen += [(row.video_id, row.name) for row in rows]
    assert sorted(seen, key=str) == sorted(expected, key=str)


def test_the_spills_of_a_stage_are_removed_when_it_ends(context: Context) -> None:
    shard = history(context, video_id=["v"], segment_file=["a"])
    assert live_rows(context, shard)
    progress.clear(context, progress.by_marks(context, "plan", 1))
    assert list(context.workspace.store.list()) == []


# Shards of many kinds


@pytest.mark.parametrize(
    "kind", [pa.large_string(), pa.dictionary(pa.int32(), TEXT), pa.dictionary(pa.int8(), pa.large_string())]
)
def test_text_columns_of_any_encoding_are_read(context: Context, kind: pa.DataType) -> None:
    columns = {"video_id": ["a", "b"], "segment_file": ["1", "2"], "status": ["passed", "odd"]}
    shard = history(context, **{name: pa.array(values).cast(kind) for name, values in columns.items()})
    assert [(r.video_id, r.name, r.status) for r in live_rows(context, shard)] == [
        ("a", "1", "passed"),
        ("b", "2", "unjudged"),
    ]


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"video_id": ["v"]}, "segment_file"),
        ({"segment_file": ["a"]}, "video_id"),
        ({"video_id": [1], "segment_file": ["a"]}, "video_id"),
        ({"video_id": ["v"], "segment_file": ["a"], "status": [1]}, "status"),
    ],
)
def test_a_shard_that_lacks_a_column_or_changed_its_type_is_named(
    context: Context, columns: dict[str, Any], says: str
) -> None:
    with pytest.raises(UserError, match=rf"h\.parquet.*parquet_type.*{says}"):
        live_rows(context, history(context, **columns))


def test_a_damaged_shard_is_named(context: Context) -> None:
    context.validation.store.create("h.parquet", b"no parquet")
    with pytest.raises(UserError, match=r"h\.parquet.*parquet_footer"):
        live_rows(context, Shard("h.parquet", "1", HISTORY, "", 1))
    with pytest.raises(UserError, match=r"h\.parquet.*parquet_footer"):
        counts(context, Shard("h.parquet", "1", HISTORY, "", 1))

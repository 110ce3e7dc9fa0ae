"""Parquet in and out: the same bytes every time, columns by name, and nothing promoted that could lose something."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hostile_parquets import GOOD

from resplice.io import shards
from resplice.io.local import LocalStore
from resplice.transforms.records import Damage

TEXT = pa.string()
TABLE = pa.table({"video_id": ["b", "a", None], "n": pa.array([1, 2, 3], pa.int32())})


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(str(tmp_path))


def put(store: LocalStore, table: pa.Table, **options: Any) -> LocalStore:
    sink = io.BytesIO()
    pq.write_table(table, sink, **options)
    store.replace("x.parquet", sink.getvalue(), None)
    return store


def damage_of(call: Callable[[], Any]) -> Damage:
    with pytest.raises(Damage) as caught:
        call()
    return caught.value


# Out


def test_the_same_table_and_metadata_give_the_same_bytes() -> None:
    again = pa.table({"video_id": ["b", "a", None], "n": pa.array([1, 2, 3], pa.int32())}, metadata={"other": "x"})
    first = shards.encode(TABLE, {"run_id": "r", "code_version": "1"})
    assert shards.encode(again, {"code_version": "1", "run_id": "r"}) == first
    assert shards.encode(TABLE, {"run_id": "s", "code_version": "1"}) != first


def test_what_is_written_carries_its_metadata_and_is_read_back(store: LocalStore) -> None:
    store.create("x.parquet", shards.encode(TABLE, {"run_id": "r", "code_version": "1", "settings_sha256": "d"}))
    file = shards.open_file(store, "x.parquet")
    metadata = file.schema_arrow.metadata
    assert {k.decode(): v.decode() for k, v in metadata.items()} == {
        "run_id": "r", "code_version": "1", "settings_sha256": "d",
    }  # fmt: skip
    assert file.read().replace_schema_metadata(None) == TABLE


def test_sorting_is_stable_and_ascending() -> None:
    table = pa.table({"a": ["b", "a", "b", "a"], "b": [2, 2, 1, 2], "n": [0, 1, 2, 3]})
    assert shards.sorted_by(table, "a", "b").column("n").to_pylist() == [1, 3, 2, 0]


# In: columns


def test_columns_are_matched_by_name_whatever_their_order_and_company(store: LocalStore) -> None:
    put(store, pa.table({"extra": [1.5], "n": [7], "video_id": ["v"]}))
    read = shards.read(store, "x.parquet", {"video_id": TEXT, "n": pa.int64()})
    assert read == pa.table({"video_id": ["v"], "n": [7]})


def test_an_optional_column_that_is_absent_is_null(store: LocalStore) -> None:
    put(store, TABLE)
    read = shards.read(store, "x.parquet", {"video_id": TEXT, "status": TEXT}, optional=["status"])
    assert read.column("status").to_pylist() == [None] * 3
    assert read.schema.field("status").type == TEXT


def test_a_missing_column_is_a_clear_error(store: LocalStore) -> None:
    damage = damage_of(lambda: shards.read(put(store, TABLE), "x.parquet", {"segment_file": TEXT}))
    assert damage.code == "parquet_type"
    for part in ("x.parquet", "segment_file", "video_id"):
        assert part in str(damage)


def test_a_file_without_rows_has_its_columns(store: LocalStore) -> None:
    assert shards.read(put(store, TABLE.slice(0, 0)), "x.parquet", {"video_id": TEXT}).num_rows == 0


PROMOTED = [
    (pa.array(["a", None]), TEXT),
    (pa.array(["a", None], pa.large_string()), TEXT),
    (pa.array(["a", None], pa.string_view()), TEXT),
    (pa.array(["a", None]).dictionary_encode(), TEXT),
    (pa.array(["a", None], pa.large_string()).dictionary_encode(), TEXT),
    (pa.nulls(2), TEXT),
    (pa.nulls(2), pa.int64()),
    (pa.array([1, None], pa.int64()), pa.int64()),
    (pa.array([1, -1], pa.int8()), pa.int64()),
    (pa.array([2**31 - 1, None], pa.int32()), pa.int64()),
    (pa.array([0.5, None], pa.float32()), pa.float64()),
    (pa.array([2**53, None], pa.int64()), pa.float64()),
    (pa.array([["a"], None, []], pa.list_(TEXT)), pa.list_(TEXT)),
    (pa.array([["a"], None, []], pa.large_list(pa.large_string())), pa.list_(TEXT)),
    (pa.array([["a"], None], pa.list_(pa.large_string())), pa.list_(TEXT)),
    (pa.nulls(2), pa.list_(TEXT)),
]


@pytest.mark.parametrize(("array", "kind"), PROMOTED, ids=lambda value: str(getattr(value, "type", value)))
def test_a_narrower_type_is_promoted_without_loss(array: pa.Array, kind: pa.DataType) -> None:
    promoted = shards.promote(pa.chunked_array([array]), kind, "here")
    assert promoted.type == kind
    assert promoted.to_pylist() == array.to_pylist()


REFUSED = [
    (pa.array(["1"]), pa.int64()),
    (pa.array(["1"]).dictionary_encode(), pa.int64()),
    (pa.array([1]), TEXT),
    (pa.array([1]).dictionary_encode(), TEXT),
    (pa.array([True]), TEXT),
    (pa.array([b"a"]), TEXT),
    (pa.array([1.0]), pa.int64()),
    (pa.array([2**53 + 1]), pa.float64()),
    (pa.array([1]), pa.float32()),
    (pa.array([True]), pa.float64()),
    (pa.array([1]), pa.int32()),
    (pa.array([2**64 - 1], pa.uint64()), pa.int64()),
    (pa.array([0.1]), pa.float32()),
    (pa.array(["a"]), pa.list_(TEXT)),
    (pa.array([["a"]]), TEXT),
    (pa.array([[1]]), pa.list_(TEXT)),
    (pa.array([{"a": 1}]), TEXT),
]


@pytest.mark.parametrize(("array", "kind"), REFUSED, ids=lambda value: str(getattr(value, "type", value)))
def test_a_column_that_changed_type_is_an_error_that_names_both_sides(array: pa.Array, kind: pa.DataType) -> None:
    damage = damage_of(lambda: shards.promote(pa.chunked_array([array]), kind, "x.parquet: column 'c'"))
    assert damage.code == "parquet_type"
    assert "x.parquet: column 'c'" in str(damage)
    assert str(kind) in str(damage)


@pytest.mark.parametrize("array", [array for array, kind in PROMOTED if kind == TEXT], ids=lambda a: str(a.type))
def test_text_in_any_encoding_is_read_as_text_from_a_file(store: LocalStore, array: pa.Array) -> None:
    put(store, pa.table({"video_id": array}))
    read = shards.read(store, "x.parquet", {"video_id": TEXT})
    assert read.column(0).to_pylist() == array.to_pylist()
    assert read.schema.field(0).type == TEXT


# In: damage


def test_the_undamaged_file_is_read(store: LocalStore) -> None:
    store.create("x.parquet", GOOD)
    assert shards.read(store, "x.parquet", {"video_id": TEXT}).num_rows == 5000


def test_a_file_that_declares_too_much_is_refused_before_it_is_read(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, pa.table({"video_id": ["x" * 1_000_000]}), compression="zstd", use_dictionary=False)
    head = store.head("x.parquet")
    assert head is not None and head.size < 10_000
    monkeypatch.setattr(shards, "MAX_UNCOMPRESSED", 999_999)
    damage = damage_of(lambda: shards.open_file(store, "x.parquet"))
    assert damage.code == "parquet_too_large"
    assert "999999" in str(damage)
    monkeypatch.setattr(shards, "MAX_UNCOMPRESSED", 2_000_000)
    assert shards.open_file(store, "x.parquet").read().num_rows == 1


def test_a_missing_file_is_missing(store: LocalStore) -> None:
    with pytest.raises(FileNotFoundError):
        shards.open_file(store, "x.parquet")


# The blob as a file


def test_a_blob_is_a_file_that_can_be_read_and_positioned(store: LocalStore) -> None:
    store.create("a", b"0123456789")
    with shards.BlobFile(store.open("a")) as file:
        assert (file.readable(), file.seekable(), file.writable()) == (True, True, False)
        assert file.read(3) == b"012"
        assert (file.seek(-2, io.SEEK_END), file.read()) == (8, b"89")
        assert (file.seek(4), file.seek(1, io.SEEK_CUR), file.tell()) == (4, 5, 5)
        assert file.read(0) == b""
        assert file.readall() == b"56789"

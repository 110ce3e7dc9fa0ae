"""Hostile files: each is refused with its exact code (what that takes is measured by benchmarks/hostile.py)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
from hostile import CASES, Case
from hostile_jsons import FINE
from hostile_parquets import GOOD, LENGTH
from hypothesis import given, settings
from hypothesis import strategies as st

from resplice.io import documents, shards
from resplice.io.local import LocalStore
from resplice.transforms import footer
from resplice.transforms.records import Damage

CODES = {
    "tar": {"short_header", "bad_checksum", "bad_size", "no_end", "trailing_data", "too_many_members", "long_name",
            "special_member", "duplicate_member", "unsafe_path"},
    "flac": {"flac_header", "flac_truncated", "flac_md5", "flac_too_large"},
    "parquet": {"parquet_footer", "parquet_too_large", "parquet_type"},
    "json": {"json_invalid", "json_too_large", "json_duplicate_key"},
}  # fmt: skip
TOLD = [case for case in CASES if case.kind in ("parquet", "json")]
"""The tables of tars and audio have their test where the rest of these formats is tested."""


def test_the_table_has_a_case_of_every_code() -> None:
    assert {kind: {case.code for case in CASES if case.kind == kind} for kind in CODES} == CODES


@pytest.mark.parametrize("case", TOLD, ids=[f"{case.kind} {case.name}" for case in TOLD])
def test_a_hostile_file_is_refused_with_its_code(tmp_path: Path, case: Case) -> None:
    case.write(tmp_path)
    assert case.code_found(tmp_path) == case.code


@pytest.mark.parametrize("data", FINE, ids=["odd values", "500 levels"])
def test_strict_json_that_looks_odd_is_read(data: bytes) -> None:
    assert documents.parse(data) is not None


def test_every_error_of_a_document_is_told_on_one_short_line(tmp_path: Path) -> None:
    for case in (case for case in CASES if case.kind == "json"):
        if isinstance(case.content, bytes):
            with pytest.raises(Damage) as caught:
                documents.parse(case.content)
            assert len(str(caught.value)) < 400 and "\n" not in str(caught.value), case.name


columns = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=9), min_size=1, max_size=9, unique=True)


@settings(deadline=None, max_examples=30)
@given(columns, st.integers(0, 30), st.integers(1, 9), st.integers(0, 60))
def test_the_footer_of_what_is_written_passes(names: list[str], rows: int, group: int, deep: int) -> None:
    kind: Any = pa.int32()
    for level in range(deep):
        kind = pa.struct({"s": kind}) if level % 2 else pa.struct({"t": kind, "u": pa.string()})
    table = pa.table({name: pa.nulls(rows, kind) for name in names})
    sink = pa.BufferOutputStream()
    pa.parquet.write_table(table, sink, row_group_size=group)
    data = sink.getvalue().to_pybytes()
    footer.check(data[-footer.TAIL - footer.length(data[-footer.TAIL :], len(data)) : -footer.TAIL])


@settings(deadline=None, max_examples=300)
@given(st.lists(st.tuples(st.integers(0, LENGTH - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_changed_footer_is_damage_or_gives_all_the_rows_it_declares(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int]]
) -> None:
    data = bytearray(GOOD)
    for at, value in changes:
        data[len(GOOD) - 8 - LENGTH + at] = value
    folder = tmp_path_factory.mktemp("changed")
    (folder / "x").write_bytes(data)
    store = LocalStore(str(folder))
    try:
        table = shards.read(store, "x", {"video_id": pa.string()})
    except Damage:
        return
    assert table.num_rows == shards.open_file(store, "x").metadata.num_rows

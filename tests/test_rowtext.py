"""The texts of rows: one for equal rows, whichever way they were read, and never one for two."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from resplice.io.values import json_texts, json_value, json_values
from resplice.transforms import rowtext
from resplice.transforms.provenance import digest_of, line, row_text, rows_digest, value_text

words = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
moments = st.datetimes().flatmap(
    lambda moment: st.sampled_from([str(moment), moment.isoformat(), f"{moment}+00", f"{moment}+02:00", f"{moment}Z"])
)
odd = st.sampled_from(
    ["2025-02-30 12:00:00", "2025-13-01 00:00:00", "2025-06-01 24:00:00", "2025-06-01", "0000-01-01 00:00:00",
     "2025-06-01 12:00:00.000000", "2025-06-01 12:00:00.5", "2025-06-01 12:00:00.123456+00", "2025-06-01\t12:00:00",
     "2025-06-01 12:00:00 ", "12025-06-01 12:00:00", "2025-06-01 12:00:00+0000", "1.50", "1e400", "NaN",
     '{"a": [1, 1.0]}'],
)  # fmt: skip
KINDS: dict[pa.DataType, st.SearchStrategy[Any]] = {
    pa.string(): words | moments | odd,
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.int16(): st.integers(-(2**15), 2**15 - 1),
    pa.float64(): st.floats(),
    pa.bool_(): st.booleans(),
    pa.binary(): st.binary(max_size=4),
    pa.null(): st.none(),
}


@given(st.data(), st.sampled_from(list(KINDS)), st.sampled_from(["", "datetime", "json", "number"]))
def test_a_column_has_the_texts_of_its_values(data: st.DataObject, type_: pa.DataType, kind: str) -> None:
    values = data.draw(st.lists(st.none() | KINDS[type_], max_size=8))
    found = json_texts(pa.array(values, type_), kind).to_pylist()
    assert found == [value_text(value) for value in json_values(values, kind)]
    sliced = json_texts(pa.array([None, *values], type_).slice(1), kind)
    assert sliced.to_pylist() == found


@pytest.mark.parametrize("text", ["2025-06-01 12:00:00", "2025-06-01T12:00:00", "2025-06-01 12:00:00+00"])
def test_moments_are_told_by_column_as_iso_8601(text: str) -> None:
    assert json_value(text, "datetime") == "2025-06-01T12:00:00Z"
    assert json_texts(pa.array([text]), "datetime").to_pylist() == ["s20:2025-06-01T12:00:00Z"]
    assert datetime.fromisoformat(text).year == 2025


values_ = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | words,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(words, inner, max_size=2),
    max_leaves=3,
)
rows = st.dictionaries(words, values_ | st.sampled_from(["n", "s1:a", "i1;", 1, 1.0, True, "1", 0.0, -0.0]), max_size=3)


@given(rows, rows)
@example({"a": "b", "c": "d"}, {"a": "bs1:cs1:d"})
@example({"a": 1}, {"a": 1.0})
@example({"a": "[]"}, {"a": []})
def test_two_rows_have_one_text_if_they_are_equal(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert (row_text(one) == row_text(other)) == (line(one) == line(other))


@given(st.lists(rows, max_size=4), st.lists(rows, max_size=4))
@example([{"a": 1}, {"b": 1}], [{"a": 1, "b": 1}])
@example([{}], [])
def test_other_sets_of_rows_have_another_digest(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> None:
    same = sorted(map(line, one)) == sorted(map(line, other))
    assert (rows_digest(one) == rows_digest(other)) == same


@given(st.lists(st.lists(st.tuples(words, st.none() | st.integers(-9, 9)), max_size=3), max_size=4), st.integers(0, 5))
def test_sets_of_rows_have_the_same_digests_by_column(sets: list[list[tuple[str, int | None]]], cut: int) -> None:
    flat = [row for one in sets for row in one]
    columns = (("größe", 0, pa.string()), ("count", 1, pa.int64()))
    texts = {name: json_texts(pa.array([row[i] for row in flat], kind), "") for name, i, kind in columns}
    found = rowtext.row_texts(texts)
    chunks = pa.chunked_array([found.slice(0, cut), found.slice(cut)], pa.binary())
    expected = [[{"größe": text, "count": number} for text, number in one] for one in sets]
    assert list(rowtext.digests(chunks, list(map(len, sets)))) == [rows_digest(one) for one in expected]
    assert found.to_pylist() == [row_text(row) for one in expected for row in one]
    assert digest_of([]) == rows_digest([])

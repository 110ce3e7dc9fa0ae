"""Evidence: strict JSON of any value, digests that depend on content alone."""

from __future__ import annotations

import hashlib
import json
import math
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resplice.pipelines.keys import safe_words
from resplice.transforms import provenance
from resplice.transforms.provenance import Run, document, fingerprint, jsonl, line, plain, rows_digest
from resplice.transforms.records import Reason

scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.decimals(min_value=-(10**30), max_value=10**30),
    st.datetimes(timezones=st.none() | st.just(UTC)), st.dates(), st.binary(max_size=9),
)  # fmt: skip
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


def strict(data: str | bytes) -> Any:
    return json.loads(data, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


@dataclass(frozen=True)
class Pair:
    a: int
    b: tuple[str, ...]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (datetime(2024, 5, 1, 12), "2024-05-01T12:00:00Z"),
        (datetime(2024, 5, 1, 12, tzinfo=UTC), "2024-05-01T12:00:00Z"),
        (datetime(2024, 5, 1, 12, tzinfo=timezone(timedelta(hours=2))), "2024-05-01T10:00:00Z"),
        (datetime(2024, 5, 1, 12, 0, 0, 250), "2024-05-01T12:00:00.000250Z"),
        (date(2024, 5, 1), "2024-05-01"),
        (time(1, 2, 3), "01:02:03"),
        (Decimal("0.25"), 0.25),
        (Decimal("3"), 3),
        (Decimal("3.00"), 3),
        (Decimal("12345678901234567890"), 12345678901234567890),
        (Decimal("NaN"), None),
        (Decimal("-Infinity"), None),
        (math.nan, None),
        (math.inf, None),
        (b"\x00\xff", "00ff"),
        (Reason.TAR_MISSING, "tar_missing"),
        (np.int64(3), 3),
        (np.float64("nan"), None),
        ({"b", "a"}, ["a", "b"]),
        (Pair(1, ("x",)), {"a": 1, "b": ["x"]}),
        ({1: (True, None)}, {"1": [True, None]}),
    ],
)
def test_values_of_a_database_become_what_json_can_say(value: Any, expected: Any) -> None:
    assert plain(value) == expected
    assert type(plain(value)) is type(expected)
    assert strict(line(value)) == expected


@given(values)
def test_every_value_is_strict_json_with_sorted_keys(value: Any) -> None:
    text = line(value)
    assert "\n" not in text
    again = strict(text)
    assert line(again) == text
    data = document(value)
    assert data.endswith(b"\n")
    assert strict(data) == again


@pytest.mark.parametrize("text", ["1E+400", "-1E+400", "1E+5000", "1.5E-5000", "1E-400", "1.5E+5000"])
def test_a_decimal_of_any_size_is_a_number_or_null_in_json(text: str) -> None:
    assert isinstance(strict(line({"n": Decimal(text)}))["n"], int | float | None)


def test_a_document_is_utf_8_with_its_letters_as_they_are() -> None:
    assert document({"b": 1, "a": "ä"}) == '{\n  "a": "ä",\n  "b": 1\n}\n'.encode()


@given(st.lists(st.dictionaries(st.text(), st.text()), max_size=5))
def test_json_lines_have_one_newline_a_value(found: list[dict[str, str]]) -> None:
    data = jsonl(found)
    assert data.count(b"\n") == len(found)
    assert [strict(text) for text in data.split(b"\n")[:-1]] == found


def test_a_digest_is_sha_256_in_hex() -> None:
    assert provenance.sha256(b"abc") == hashlib.sha256(b"abc").hexdigest()


def test_a_fingerprint_depends_on_each_part_and_on_no_order() -> None:
    one = fingerprint(raw="x", settings={"a": 1, "b": 2})
    assert one == fingerprint(settings={"b": 2, "a": 1}, raw="x")
    others = {fingerprint(raw="y", settings={"a": 1, "b": 2}), fingerprint(raw="x", settings={"a": 1, "b": 3}),
              fingerprint(raw="x"), fingerprint(other="x", settings={"a": 1, "b": 2})}  # fmt: skip
    assert len(others | {one}) == 5


def test_a_fingerprint_depends_on_the_version_of_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    before = fingerprint(raw="x")
    monkeypatch.setattr(provenance, "VERSION", "another")
    assert fingerprint(raw="x") != before


rows = st.lists(st.dictionaries(st.sampled_from("abc"), st.integers(0, 2) | st.none()), max_size=5)


@given(rows, st.randoms(use_true_random=False))
def test_rows_have_one_digest_in_any_order_of_rows_and_columns(found: list[dict[str, Any]], random: Any) -> None:
    shuffled = [dict(random.sample(list(row.items()), len(row))) for row in random.sample(found, len(found))]
    assert rows_digest(shuffled) == rows_digest(found)


@given(rows, rows)
def test_other_rows_have_another_digest(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> None:
    same = sorted(map(line, one)) == sorted(map(line, other))
    assert (rows_digest(one) == rows_digest(other)) == same


def test_a_row_twice_is_not_a_row_once() -> None:
    assert rows_digest([{"a": 1}, {"a": 1}]) != rows_digest([{"a": 1}])


def test_now_is_utc_to_the_millisecond() -> None:
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", provenance.now())


def test_parquet_files_of_a_run_carry_run_code_and_settings() -> None:
    carried = Run("r", "w", "repair", "digest", code="1").metadata()
    assert carried == {"run_id": "r", "code_version": "1", "settings_sha256": "digest"}


def test_the_words_of_a_command_are_recorded_without_secrets() -> None:
    words = ["--azure_connection_string", "A;AccountKey=S", "--x-sas", "S", "--set", "a.private_key=S", "--token=S"]
    assert safe_words([*words, "A=https;AccountKey=S", "u://n:S@h", "--secret", "--run-id", "basaslt"]) == [
        "--azure_connection_string", "***", "--x-sas", "***", "--set", "a.private_key=***", "--token=***",
        "A=https;AccountKey=***", "u://n:***@h", "--secret", "--run-id", "basaslt",
    ]  # fmt: skip

"""refused.jsonl and summary.json: sorted, stable, and balanced from their own sources."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from resplice.io import refusals
from resplice.io.local import LocalStore
from resplice.io.refusals import Refused, Summary

STAGE = "runs/r/repair"


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(str(tmp_path))


def refused(unit: str, segment: str = "", reason: str = "crashed", detail: str = "", at: str = "then") -> Refused:
    return Refused("r", "repair", unit, segment, reason, detail, at)


def lines_of(store: LocalStore) -> list[dict[str, str]]:
    return [json.loads(line) for line in store.read(f"{STAGE}/refused.jsonl").split(b"\n")[:-1]]


def test_a_line_has_the_fields_of_the_contract(store: LocalStore) -> None:
    refusals.write(store, STAGE, [refused("v", "a_split0", "segment_mismatch", "größe")])
    assert lines_of(store) == [
        {"run_id": "r", "stage": "repair", "unit": "v", "segment": "a_split0", "reason": "segment_mismatch",
         "detail": "größe", "at": "then"}
    ]  # fmt: skip


def test_lines_are_sorted_by_unit_and_segment(store: LocalStore) -> None:
    refusals.write(store, STAGE, [refused("b"), refused("a", "y"), refused("Z"), refused("a", "x"), refused("é")])
    assert [(line["unit"], line["segment"]) for line in lines_of(store)] == [
        ("Z", ""), ("a", "x"), ("a", "y"), ("b", ""), ("é", ""),
    ]  # fmt: skip


def test_a_stage_without_refusals_has_an_empty_file(store: LocalStore) -> None:
    refusals.write(store, STAGE, [])
    assert store.read(f"{STAGE}/refused.jsonl") == b""


def test_a_stage_that_never_ran_has_none(store: LocalStore) -> None:
    assert refusals.load(store, STAGE) == []
    assert refusals.load_summary(store, STAGE) is None


def test_a_refusal_that_stays_keeps_its_moment_and_its_bytes(store: LocalStore) -> None:
    refusals.write(store, STAGE, [refused("a", at="first"), refused("b", at="first")])
    before = list(store.list())
    refusals.write(store, STAGE, [refused("b", at="second"), refused("a", at="second")])
    assert list(store.list()) == before
    refusals.write(store, STAGE, [refused("a", at="third"), refused("b", reason="timeout", at="third")])
    assert [(line.unit, line.at) for line in refusals.load(store, STAGE)] == [("a", "first"), ("b", "third")]


def test_what_is_no_longer_refused_is_gone(store: LocalStore) -> None:
    refusals.write(store, STAGE, [refused("a"), refused("b")])
    refusals.write(store, STAGE, [refused("b")])
    assert [line.unit for line in refusals.load(store, STAGE)] == ["b"]


texts = st.one_of(
    st.text(max_size=20), st.sampled_from(["a\u2028b", "a\u2029", "\x85", "\x1c\x1d\x1e", "\x0b\x0c\r\n", "\x00"])
)


@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.builds(refused, st.sampled_from("ab"), texts, st.just("bad_name"), texts), max_size=5, unique=True))
@example([refused("a", "a\u2028b", "bad_name", "\x85")])
def test_any_text_survives(store: LocalStore, found: list[Refused]) -> None:
    refusals.write(store, STAGE, found)
    assert sorted(refusals.load(store, STAGE), key=repr) == sorted(found, key=repr)


def test_a_summary_has_the_fields_of_the_contract_and_counts_refusals_from_their_file(store: LocalStore) -> None:
    refusals.write(store, STAGE, [refused("a"), refused("b"), refused("c", reason="timeout")])
    summary = refusals.summarise(store, STAGE, "repair", total=10, done=5, skipped=2)
    assert json.loads(store.read(f"{STAGE}/summary.json")) == {
        "stage": "repair", "unit": "video", "in": 10, "done": 5, "skipped": 2, "refused": 3,
        "by_reason": {"crashed": 2, "timeout": 1},
    }  # fmt: skip
    assert summary.balanced
    assert refusals.load_summary(store, STAGE) == summary


def test_a_video_counts_once_whatever_number_of_its_segments_was_refused(store: LocalStore) -> None:
    refusals.write(store, STAGE, [refused("a", "x"), refused("a", "y"), refused("b", "x", "timeout")])
    summary = refusals.summarise(store, STAGE, "validate", total=3, done=1, skipped=0)
    assert (summary.refused, summary.by_reason) == (2, {"crashed": 1, "timeout": 1})


def test_a_result_counts_for_itself(store: LocalStore) -> None:
    refusals.write(store, STAGE, [refused("a", "x"), refused("a", "y")])
    summary = refusals.summarise(store, STAGE, "validate", total=2, done=0, skipped=0, unit="result")
    assert (summary.refused, summary.by_reason, summary.unit) == (2, {"crashed": 2}, "result")


@pytest.mark.parametrize(
    ("total", "done", "skipped", "refused_", "balanced"),
    [(0, 0, 0, 0, True), (6, 1, 2, 3, True), (7, 1, 2, 3, False), (5, 1, 2, 3, False)],
)
def test_the_balance_is_in_is_done_and_skipped_and_refused(
    total: int, done: int, skipped: int, refused_: int, balanced: bool
) -> None:
    assert Summary("s", total, done, skipped, refused_, {}).balanced == balanced


def test_a_second_process_changes_no_byte_of_a_summary(store: LocalStore) -> None:
    refusals.write(store, STAGE, [refused("a")])
    refusals.summarise(store, STAGE, "repair", 1, 0, 0)
    before = list(store.list())
    refusals.summarise(store, STAGE, "repair", 1, 0, 0)
    assert list(store.list()) == before

"""Which videos are planned: every reason alone and all together, the wave, and the packing into work items."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from resplice.transforms.affected import Selection, Video, better, reasons, select, work_items
from resplice.transforms.audit import RowName
from resplice.transforms.records import Reason, Segment

A, A0, A1 = Segment("a"), Segment("a", 0), Segment("a", 1)
FAILED = ("validation_failed",)
BAD = None


def rows_of(*segments: Segment | None) -> list[RowName]:
    return [RowName(n, f"row {n}", segment) for n, segment in enumerate(segments)]


def video(*segments: Segment | None, tar: str = "ok", results: Mapping[Segment, str] | None = None,
          faults: tuple[Reason, ...] = (), status: str | None = "x", by_run: bool = False) -> Video:  # fmt: skip
    known = dict.fromkeys((s for s in segments if s), "passed") if results is None else results
    return Video(rows_of(*segments), tar, faults, status, known, by_run)


R = Reason
TABLE = [
    ("unsplit, all right", video(A), []),
    ("splits, each with a result", video(A0, A1), []),
    ("no rows, no tar: a raw tar alone is not planned", video(tar="missing"), []),
    ("no rows, a failed status", video(tar="missing", status="validation_failed"), []),
    ("tar missing", video(A, tar="missing"), [R.TAR_MISSING]),
    ("tar unreadable", video(A, tar="unreadable"), [R.TAR_UNREADABLE]),
    ("tar unreadable, no rows", video(tar="unreadable"), [R.TAR_UNREADABLE]),
    ("members missing", video(A, faults=(R.MEMBERS_MISSING,)), [R.MEMBERS_MISSING]),
    ("tar mismatch", video(A, faults=(R.TAR_MISMATCH,)), [R.TAR_MISMATCH]),
    ("a tar without rows", video(faults=(R.TAR_MISMATCH,)), [R.TAR_MISMATCH]),
    ("both", video(A, faults=(R.TAR_MISMATCH, R.MEMBERS_MISSING)), [R.MEMBERS_MISSING, R.TAR_MISMATCH]),
    ("missing excludes them", video(A, tar="missing", faults=(R.TAR_MISMATCH, R.MEMBERS_MISSING)), [R.TAR_MISSING]),
    ("unreadable excludes them", video(A, tar="unreadable", faults=(R.MEMBERS_MISSING,)), [R.TAR_UNREADABLE]),
    ("splits in a missing tar", video(A0, tar="missing"), [R.SPLIT_ROWS, R.TAR_MISSING]),
    ("splits in an unreadable tar", video(A0, tar="unreadable"), [R.SPLIT_ROWS, R.TAR_UNREADABLE]),
    ("splits in a wrong tar", video(A0, A1, faults=(R.MEMBERS_MISSING,)), [R.MEMBERS_MISSING, R.SPLIT_ROWS]),
    ("no result", video(A, results={}), [R.VALIDATION_MISSING]),
    ("the result of another segment", video(A, results={Segment("b"): "passed"}), [R.VALIDATION_MISSING]),
    ("the result of the unsplit original is not the split's", video(A0, results={A: "passed"}),
     [R.SPLIT_ROWS, R.VALIDATION_MISSING]),
    ("one split without a result", video(A0, A1, results={A0: "passed"}), [R.SPLIT_ROWS, R.VALIDATION_MISSING]),
    ("an unsplit row without a result is no split's fault",
     video(A, Segment("b", 0), results={Segment("b", 0): "passed"}), [R.VALIDATION_MISSING]),
    ("an error is no current result", video(A, results={A: "error"}), [R.VALIDATION_MISSING]),
    ("a split's error neither", video(A0, results={A0: "error"}), [R.SPLIT_ROWS, R.VALIDATION_MISSING]),
    ("a verdict failed is a result", video(A, A0, results={A: "failed", A0: "failed"}), []),
    ("unjudged is a result", video(A, A0, results={A: "unjudged", A0: "unjudged"}), []),
    ("bad_name has no result and no split", video(A, BAD), [R.VALIDATION_MISSING]),
    ("failed status", video(A, status="validation_failed"), [R.VALIDATION_FAILED]),
    ("failed status, but a result of a run", video(A, status="validation_failed", by_run=True), []),
    ("another status", video(A, status="failed"), []),
    ("no status", video(A, status=None), []),
    ("a result of a run heals nothing else", video(A0, results={}, by_run=True), [R.SPLIT_ROWS, R.VALIDATION_MISSING]),
    ("all that can hold together",
     video(A0, A1, faults=(R.TAR_MISMATCH, R.MEMBERS_MISSING), status="validation_failed", results={}),
     [R.MEMBERS_MISSING, R.SPLIT_ROWS, R.TAR_MISMATCH, R.VALIDATION_FAILED, R.VALIDATION_MISSING]),
    ("all with a missing tar", video(A0, tar="missing", status="validation_failed", results={}),
     [R.SPLIT_ROWS, R.TAR_MISSING, R.VALIDATION_FAILED, R.VALIDATION_MISSING]),
]  # fmt: skip


@pytest.mark.parametrize(("case", "expected"), [pytest.param(case, want, id=name) for name, case, want in TABLE])
def test_a_video_has_all_reasons_that_hold_sorted(case: Video, expected: list[Reason]) -> None:
    assert reasons(case, FAILED) == expected


STATUSES = [None, "passed", "failed", "error", "unjudged"]


@pytest.mark.parametrize(
    ("tar", "faults"),
    [("missing", ()), ("unreadable", ()), ("ok", ()), ("ok", (R.MEMBERS_MISSING,)), ("ok", (R.TAR_MISMATCH,))],
)
def test_every_combination_of_facts_has_the_reasons_of_the_text(tar: str, faults: tuple[Reason, ...]) -> None:
    for first, second, failed, by_run in itertools.product(STATUSES, STATUSES, [True, False], [True, False]):
        results = {s: status for s, status in ((A, first), (Segment("b", 0), second)) if status}
        status = "validation_failed" if failed else "x"
        case = video(A, Segment("b", 0), tar=tar, faults=faults, results=results, status=status, by_run=by_run)
        current = [status not in (None, "error") for status in (first, second)]
        tar_right = tar == "ok" and not faults
        expected = {
            R.TAR_MISSING: tar == "missing",
            R.TAR_UNREADABLE: tar == "unreadable",
            R.MEMBERS_MISSING: R.MEMBERS_MISSING in faults,
            R.TAR_MISMATCH: R.TAR_MISMATCH in faults,
            R.SPLIT_ROWS: not (tar_right and current[1]),
            R.VALIDATION_FAILED: failed and not by_run,
            R.VALIDATION_MISSING: not all(current),
        }
        assert set(reasons(case, FAILED)) == {reason for reason, holds in expected.items() if holds}


def test_the_failed_statuses_are_a_setting() -> None:
    case = video(A, status="broken")
    assert reasons(case, ("broken", "other")) == [R.VALIDATION_FAILED]
    assert reasons(case, ()) == []


@pytest.mark.parametrize(
    ("earlier", "later", "counts"),
    [
        (None, "passed", "passed"),
        (None, "error", "error"),
        ("error", "passed", "passed"),
        ("passed", "error", "passed"),
        ("passed", "failed", "failed"),
        ("failed", "passed", "passed"),
        ("error", "error", "error"),
        ("unjudged", "error", "unjudged"),
    ],
)
def test_a_result_counts_before_an_error_then_the_later_one(earlier: str | None, later: str, counts: str) -> None:
    assert better(earlier, later) == counts


# The wave

AFFECTED = {"b": ["split_rows"], "a": ["tar_missing", "split_rows"], "C": ["tar_mismatch"], "é": ["tar_missing"]}


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (Selection(), ["C", "a", "b", "é"]),
        (Selection(reasons=("split_rows",)), ["a", "b"]),
        (Selection(reasons=("split_rows", "tar_mismatch")), ["C", "a", "b"]),
        (Selection(videos=frozenset({"a", "C", "not affected"})), ["C", "a"]),
        (Selection(reasons=("tar_missing",), videos=frozenset({"a", "b"})), ["a"]),
        (Selection(videos=frozenset()), []),
        (Selection(limit=0), []),
        (Selection(limit=9), ["C", "a", "b", "é"]),
    ],
)
def test_a_wave_is_what_all_restrictions_leave_sorted_by_code_point(selection: Selection, expected: list[str]) -> None:
    assert select(AFFECTED, selection) == expected


@given(st.sets(st.text(min_size=1, max_size=5)), st.integers(0, 12))
def test_the_limit_takes_the_first_by_the_digest_of_the_id(ids: set[str], limit: int) -> None:
    by_digest = sorted(ids, key=lambda i: hashlib.sha256(i.encode()).hexdigest())
    assert select({i: ["split_rows"] for i in ids}, Selection(limit=limit)) == sorted(by_digest[:limit])


# Work items

loads = st.dictionaries(
    st.text("abcdef0123", min_size=1, max_size=6),
    st.one_of(st.just(0.0), st.floats(0, 30), st.floats(0, 900), st.sampled_from([600.0, 600.1, 300.0, 5000.0])),
    max_size=300,
)


@settings(deadline=None)
@given(loads)
@example({str(n): 400.0 for n in range(300)})
@example({str(n): 330.0 for n in range(300)})
@example({str(n): 5.0 for n in range(1000)})
def test_every_video_is_in_one_item_of_at_most_ten_minutes_unless_alone(seconds: dict[str, float]) -> None:
    items = work_items(seconds)
    assert sorted(video for item in items for video in item) == sorted(seconds)
    assert all(items)
    assert all(len(item) == 1 or sum(seconds[video] for video in item) <= 600 + 1e-6 for item in items)


@settings(deadline=None)
@given(loads)
@example({str(n): 5.0 for n in range(1000)})
def test_there_are_at_least_128_items_or_as_many_as_videos_if_all_have_audio(seconds: dict[str, float]) -> None:
    audible = {video: length + 0.001 for video, length in seconds.items()}
    assert len(work_items(audible)) >= min(128, len(audible))


@pytest.mark.parametrize("silent", [128, 1000])
@pytest.mark.parametrize("audible", [0, 100])
def test_there_are_at_least_128_items_also_if_videos_have_no_known_audio(silent: int, audible: int) -> None:
    seconds = {f"s{n}": 0.0 for n in range(silent)} | {f"a{n}": 60.0 for n in range(audible)}
    assert len(work_items(seconds)) >= 128


@settings(deadline=None)
@given(loads, st.randoms(use_true_random=False))
def test_items_depend_on_the_plan_and_not_on_the_order_of_a_dictionary(
    seconds: dict[str, float], random: object
) -> None:
    shuffled = list(seconds)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert work_items({video: seconds[video] for video in shuffled}) == work_items(seconds)


def test_items_are_of_about_equal_length() -> None:
    items = work_items({str(n): float(1 + n % 50) for n in range(1000)})
    totals = [sum(float(1 + int(video) % 50) for video in item) for item in items]
    assert len(items) == 128
    assert max(totals) - min(totals) <= 50


def test_one_long_video_is_alone() -> None:
    items = work_items({"long": 5000.0, **{str(n): 10.0 for n in range(500)}})
    assert ("long",) in items


def test_nothing_planned_is_no_item() -> None:
    assert work_items({}) == []

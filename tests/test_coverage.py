"""The proof: the contract's table of buckets, line by line, and over every possible standing and result."""

from __future__ import annotations

import itertools

import pytest

from resplice.transforms.coverage import Bucket, Place, Result, Standing, place
from resplice.transforms.records import Reason

B, R = Bucket, Reason
RAW = [R.RAW_MISSING, R.RAW_UNREADABLE]
GONE = [R.NO_ROWS, R.BAD_NAME, R.NAME_COLLISION, R.SEGMENT_UNDECODABLE, R.SEGMENT_MISMATCH, R.DURATION_MISMATCH]
RUNTIME = [R.TAR_MISSING, R.TAR_UNREADABLE, R.CRASHED, R.TIMEOUT, R.OUT_OF_MEMORY]
STATUSES = ["passed", "failed", "error", "unjudged"]

NOW = {status: Result(status, True, ()) for status in STATUSES}
OLD = {status: Result(status, False, ()) for status in STATUSES}
PLANNED = Standing(planned=True)


def refused(reason: Reason) -> Standing:
    return Standing(planned=True, reason=reason, detail="why")


TABLE = [
    *((PLANNED, NOW[status], B.VALIDATED) for status in ("passed", "failed")),
    (PLANNED, NOW["error"], B.RUNTIME_FAILURE),
    (PLANNED, NOW["unjudged"], B.UNACCOUNTED),
    (PLANNED, None, B.UNACCOUNTED),
    *((PLANNED, OLD[status], B.UNACCOUNTED) for status in STATUSES),
    *((refused(reason), None, B.RAW_MISSING) for reason in RAW),
    *((refused(reason), None, B.UNRECONSTRUCTABLE) for reason in GONE),
    *((refused(reason), None, B.RUNTIME_FAILURE) for reason in RUNTIME),
    *((refused(reason), OLD["passed"], B.RAW_MISSING) for reason in RAW),
    *((refused(reason), OLD["passed"], B.UNRECONSTRUCTABLE) for reason in GONE),
    *((refused(reason), OLD["passed"], B.RUNTIME_FAILURE) for reason in RUNTIME),
    *((refused(reason), NOW["passed"], B.VALIDATED) for reason in [*RAW, *GONE, *RUNTIME]),
    *((refused(reason), NOW["error"], B.RUNTIME_FAILURE) for reason in [*RAW, *GONE, *RUNTIME]),
    *((refused(R.DRIFTED), result, B.UNACCOUNTED) for result in [None, *NOW.values(), *OLD.values()]),
    *((refused(reason), None, B.UNACCOUNTED) for reason in (R.NOT_PLANNED, R.EXISTS, R.CONFLICT, R.DUPLICATE_RESULT)),
    *((Standing(left_out=True), result, B.UNACCOUNTED) for result in [None, *NOW.values(), *OLD.values()]),
    *((Standing(), OLD[status], B.VALIDATED) for status in ("passed", "failed", "unjudged")),
    *((Standing(), NOW[status], B.VALIDATED) for status in ("passed", "failed", "unjudged")),
    *((Standing(), result, B.UNACCOUNTED) for result in (None, OLD["error"], NOW["error"])),
    *((Standing(reason=R.BAD_NAME), result, B.UNRECONSTRUCTABLE) for result in (None, OLD["passed"])),
]


@pytest.mark.parametrize(("standing", "result", "bucket"), TABLE)
def test_a_row_is_in_the_bucket_of_the_first_line_that_holds(
    standing: Standing, result: Result | None, bucket: Bucket
) -> None:
    assert place(standing, result).bucket == bucket


def test_there_are_the_five_buckets_of_the_contract() -> None:
    assert [str(b) for b in Bucket] == [
        "validated",
        "raw_missing",
        "unreconstructable",
        "runtime_failure",
        "unaccounted",
    ]


def test_every_standing_and_result_gives_exactly_one_bucket() -> None:
    standings = [
        Standing(),
        Standing(left_out=True),
        Standing(reason=R.BAD_NAME),
        PLANNED,
        *(refused(reason) for reason in Reason),
    ]
    for standing, result in itertools.product(standings, [None, *NOW.values(), *OLD.values()]):
        placed = place(standing, result)
        assert isinstance(placed, Place)
        assert placed.bucket in set(Bucket)
        assert placed == place(standing, result)


def test_a_status_stands_only_where_a_result_counted() -> None:
    assert place(PLANNED, NOW["passed"]).status == "passed"
    assert place(PLANNED, NOW["failed"]).status == "failed"
    assert place(PLANNED, NOW["error"]).status == "error"
    assert place(Standing(), OLD["unjudged"]).status is None
    assert place(refused(R.RAW_MISSING), OLD["passed"]).status is None
    assert place(Standing(left_out=True), OLD["passed"]).status is None
    assert place(refused(R.DRIFTED), NOW["passed"]).status is None


def test_a_refusal_explains_its_bucket_with_reason_and_detail() -> None:
    assert place(refused(R.RAW_MISSING), None) == Place(B.RAW_MISSING, None, "raw_missing", "why")
    assert place(refused(R.DRIFTED), None) == Place(B.UNACCOUNTED, None, "drifted", "why")
    assert place(Standing(left_out=True), None).reason == "not_selected"


def test_a_result_explains_its_bucket_with_its_own_reasons() -> None:
    assert place(PLANNED, Result("failed", True, ("silent", "too_short"))) == Place(
        B.VALIDATED, "failed", None, "silent,too_short"
    )
    assert place(PLANNED, Result("error", True, ("crashed",))).reason == "crashed"

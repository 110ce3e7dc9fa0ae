"""The proof: every baseline row in exactly one bucket."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from resplice.transforms.records import Reason


class Bucket(StrEnum):
    """The one place where coverage puts a row."""

    VALIDATED = "validated"
    RAW_MISSING = "raw_missing"
    UNRECONSTRUCTABLE = "unreconstructable"
    RUNTIME_FAILURE = "runtime_failure"
    UNACCOUNTED = "unaccounted"


_BUCKET_OF_REFUSAL = {
    Reason.RAW_MISSING: Bucket.RAW_MISSING,
    Reason.RAW_UNREADABLE: Bucket.RAW_MISSING,
    Reason.NO_ROWS: Bucket.UNRECONSTRUCTABLE,
    Reason.BAD_NAME: Bucket.UNRECONSTRUCTABLE,
    Reason.NAME_COLLISION: Bucket.UNRECONSTRUCTABLE,
    Reason.SEGMENT_UNDECODABLE: Bucket.UNRECONSTRUCTABLE,
    Reason.SEGMENT_MISMATCH: Bucket.UNRECONSTRUCTABLE,
    Reason.DURATION_MISMATCH: Bucket.UNRECONSTRUCTABLE,
    Reason.TAR_MISSING: Bucket.RUNTIME_FAILURE,
    Reason.TAR_UNREADABLE: Bucket.RUNTIME_FAILURE,
    Reason.CRASHED: Bucket.RUNTIME_FAILURE,
    Reason.TIMEOUT: Bucket.RUNTIME_FAILURE,
    Reason.OUT_OF_MEMORY: Bucket.RUNTIME_FAILURE,
}


@dataclass(frozen=True)
class Standing:
    """Where a video stands in the run: planned (with the refusal that ended it, if any), left out, or another."""

    planned: bool = False
    left_out: bool = False
    reason: str = ""
    detail: str = ""


@dataclass(frozen=True)
class Result:
    """A live result of a row's segment. `of_run`: made by this run or a later one."""

    status: str
    of_run: bool
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Place:
    """A row's bucket, and what explains it."""

    bucket: Bucket
    status: str | None = None
    reason: str | None = None
    detail: str | None = None


def place(standing: Standing, result: Result | None) -> Place:
    """Put one row into its bucket: the first line of the contract's table that holds."""
    if standing.left_out:
        return Place(Bucket.UNACCOUNTED, reason="not_selected", detail="affected, but left out of the plan")
    if not standing.planned:
        if standing.reason:
            return Place(_BUCKET_OF_REFUSAL[Reason(standing.reason)], None, standing.reason, standing.detail or None)
        if result is None:
            return Place(Bucket.UNACCOUNTED)
        if result.status == "error":
            return Place(Bucket.UNACCOUNTED, result.status, *_cause(result.reasons))
        return _validated(result)
    if standing.reason != Reason.DRIFTED and result is not None and result.of_run:
        if result.status in ("passed", "failed"):
            return _validated(result)
        if result.status == "error":
            return Place(Bucket.RUNTIME_FAILURE, result.status, *_cause(result.reasons))
    bucket = Bucket.UNACCOUNTED
    if standing.reason and standing.reason != Reason.DRIFTED:
        bucket = _BUCKET_OF_REFUSAL.get(Reason(standing.reason), Bucket.UNACCOUNTED)
    return Place(bucket, None, standing.reason or None, standing.detail or None)


def _validated(result: Result) -> Place:
    status = None if result.status == "unjudged" else result.status
    return Place(Bucket.VALIDATED, status, None, _join(result.reasons))


def _cause(reasons: tuple[str, ...]) -> tuple[str | None, str | None]:
    """Return why a segment has no verdict, and what its neighbours show besides."""
    return (reasons[0] if reasons else None), _join(reasons[1:])


def _join(reasons: tuple[str, ...]) -> str | None:
    return ",".join(reasons) or None

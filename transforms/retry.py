"""What to do again: decided from a unit's latest outcome, whether its inputs are the same, and `--retry`."""

from __future__ import annotations

NONE, FAILED, ALL = "none", "failed", "all"


def again(outcome: str | None, retry: str, unchanged: bool) -> bool:
    """Return whether a unit is worked on: `outcome` is its latest one (None, "done" or "refused"), `unchanged` says
    that an artifact of its very fingerprint is there, whatever was refused since.
    """
    if outcome is None or retry == ALL:
        return True
    return not unchanged and not (outcome == "refused" and retry == NONE)


def result_again(status: str | None, retry: str) -> bool:
    """Return whether a segment of an unchanged video is judged again: without a result, or with an `error`."""
    return status is None or retry == ALL or (status == "error" and retry != NONE)

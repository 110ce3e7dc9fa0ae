"""What a second process does again: the table of outcomes, inputs and `--retry`."""

from __future__ import annotations

import pytest

from resplice.transforms.retry import again, result_again


@pytest.mark.parametrize(
    ("outcome", "unchanged", "none", "failed", "all_"),
    [
        (None, False, True, True, True),
        ("done", True, False, False, True),
        ("done", False, True, True, True),
        ("refused", True, False, False, True),
        ("refused", False, False, True, True),
    ],
)
def test_retry_concerns_refused_units_and_all_also_done_ones(
    outcome: str | None, unchanged: bool, none: bool, failed: bool, all_: bool
) -> None:
    assert [again(outcome, retry, unchanged) for retry in ("none", "failed", "all")] == [none, failed, all_]


@pytest.mark.parametrize(
    ("status", "none", "failed", "all_"),
    [
        (None, True, True, True),
        ("error", False, True, True),
        ("passed", False, False, True),
        ("failed", False, False, True),
    ],
)
def test_retry_concerns_results_that_are_errors_and_a_verdict_failed_is_an_outcome(
    status: str | None, none: bool, failed: bool, all_: bool
) -> None:
    assert [result_again(status, retry) for retry in ("none", "failed", "all")] == [none, failed, all_]

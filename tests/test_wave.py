"""The canary: few videos that stand for all, and the bound of the refused share."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resplice.transforms.wave import spread, upper_bound

REASONS = ["split_rows", "tar_missing", "tar_mismatch", "validation_failed"]
affected = st.dictionaries(
    st.text("abc012", min_size=1, max_size=4), st.lists(st.sampled_from(REASONS), min_size=1, unique=True), max_size=40
)


@given(affected, st.integers(0, 50))
def test_it_takes_as_many_videos_as_asked_for_if_there_are_so_many(reasons: dict[str, list[str]], count: int) -> None:
    chosen = spread(reasons, count)
    assert chosen == sorted(set(chosen))
    assert set(chosen) <= set(reasons)
    assert len(chosen) == min(count, len(reasons))


@given(affected)
def test_every_reason_is_among_as_many_videos_as_there_are_reasons(reasons: dict[str, list[str]]) -> None:
    kinds = {reason for why in reasons.values() for reason in why}
    assert {reason for video in spread(reasons, len(kinds)) for reason in reasons[video]} == kinds


@given(affected, st.integers(0, 50), st.randoms(use_true_random=False))
def test_the_choice_does_not_depend_on_the_order_of_videos(
    reasons: dict[str, list[str]], count: int, random: object
) -> None:
    order = list(reasons)
    random.shuffle(order)  # type: ignore[attr-defined]
    assert spread({video: reasons[video] for video in order}, count) == spread(reasons, count)


@given(affected, st.integers(0, 40))
def test_a_larger_canary_holds_the_smaller_one(reasons: dict[str, list[str]], count: int) -> None:
    assert set(spread(reasons, count)) <= set(spread(reasons, count + 1))


@given(st.integers(0, 500), st.integers(1, 500))
def test_the_bound_lies_between_the_share_and_one(refused: int, more: int) -> None:
    tried = refused + more
    assert refused / tried <= upper_bound(refused, tried) <= 1.0


@pytest.mark.parametrize(("refused", "tried"), [(0, 10), (1, 10), (5, 50), (3, 1000), (9, 10)])
def test_the_bound_is_where_the_share_is_just_1_96_standard_errors_below(refused: int, tried: int) -> None:
    bound = upper_bound(refused, tried)
    distance = (bound - refused / tried) / math.sqrt(bound * (1 - bound) / tried)
    assert distance == pytest.approx(1.959964, abs=1e-5)


def test_nothing_tried_says_nothing_and_all_refused_says_all() -> None:
    assert upper_bound(0, 0) == 1.0
    assert upper_bound(10, 10) == pytest.approx(1.0)


def test_more_tries_with_the_same_share_narrow_the_bound() -> None:
    assert upper_bound(1, 10) > upper_bound(10, 100) > upper_bound(100, 1000) > 0.1

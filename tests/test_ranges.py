"""The partition of ids into ranges, which rows, tars and results share."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from resplice.transforms.ranges import limits, partition, range_of

ids = st.text("ab0-_é\x00\udce9Z", max_size=4)
weights = st.dictionaries(ids, st.integers(0, 60_000), max_size=60)


@given(weights, ids)
@example({"a": 1, "b": 1}, "a")
def test_every_id_lies_within_the_limits_of_its_own_range_and_of_no_other(known: dict[str, int], asked: str) -> None:
    bounds = partition(known)
    assert list(bounds) == sorted(set(bounds))
    for video in [*known, asked]:
        holding = []
        for index in range(len(bounds) + 1):
            after, until = limits(bounds, index)
            if (after is None or video > after) and (until is None or video <= until):
                holding.append(index)
        assert holding == [range_of(bounds, video)]


@given(weights)
def test_bounds_can_be_said_to_a_database(known: dict[str, int]) -> None:
    for bound in partition(known):
        bound.encode("utf-8")
        assert "\x00" not in bound


@given(weights, st.randoms(use_true_random=False))
def test_the_partition_depends_on_ids_and_numbers_not_on_their_order(known: dict[str, int], random: object) -> None:
    order = list(known)
    random.shuffle(order)  # type: ignore[attr-defined]
    assert partition({video: known[video] for video in order}) == partition(known)


@pytest.mark.parametrize("videos", [16, 17, 100, 5000, 40_000])
def test_a_range_has_at_most_a_thousand_videos_and_there_are_at_least_sixteen(videos: int) -> None:
    bounds = partition({f"{n:06d}": 1 for n in range(videos)})
    sizes = Counter(range_of(bounds, f"{n:06d}") for n in range(videos))
    assert max(sizes.values()) <= 1000
    assert len(sizes) == len(bounds) + 1 >= 16


def test_a_range_ends_when_it_has_a_hundred_thousand_rows() -> None:
    known = {f"{n:04d}": 30_000 for n in range(400)}
    bounds = partition(known)
    sizes = Counter(range_of(bounds, video) for video in known)
    assert max(sizes.values()) == 4


@pytest.mark.parametrize("known", [{}, {"a": 5}, {"a": 10**9}])
def test_few_ids_are_one_range(known: dict[str, int]) -> None:
    assert partition(known) == ()
    assert limits((), 0) == (None, None)
    assert range_of((), "anything") == 0

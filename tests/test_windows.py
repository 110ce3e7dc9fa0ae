"""Windows of a recording: which samples they are, and what their rows are called."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resplice.transforms.records import UserError
from resplice.transforms.windows import Windows, cut, mean, row_key, unit

RATE = 100


def seconds(text: str, length_s: float, first_sound_s: float = 0.0, **more: float) -> list[list[tuple[float, float]]]:
    samples = np.ones(round(length_s * RATE), np.float32)
    samples[: round(first_sound_s * RATE)] = 0.0
    found = cut(Windows.of(text, **more), samples, RATE)
    return [[(start / RATE, end / RATE) for start, end in row] for row in found]


def test_the_whole_is_one_window() -> None:
    assert seconds("full", 7.5) == [[(0.0, 7.5)]]


def test_canonical_windows_are_of_the_whole_recording_and_make_one_row() -> None:
    assert seconds("canonical", 79.9) == [[(0.0, 79.9)]]
    assert seconds("canonical", 100.0) == [[(0.0, 10.0), (30.0, 70.0), (85.0, 95.0)]]
    assert seconds("canonical", 300.0, 2.0) == [[(2.0, 12.0), (120.0, 180.0), (285.0, 295.0)]]


def test_the_late_window_begins_five_seconds_after_the_core_and_goes_where_nothing_is_left_of_it() -> None:
    assert seconds("canonical", 82.0) == [[(0.0, 10.0), (21.0, 61.0), (67.0, 77.0)]]
    assert seconds("canonical", 140.0) == [[(0.0, 10.0), (40.0, 100.0), (125.0, 135.0)]]


def test_the_canonical_windows_of_silence_begin_at_its_begin() -> None:
    assert seconds("canonical", 100.0, 100.0)[0][0] == (0.0, 10.0)


def test_fixed_windows_make_a_row_each_and_leave_no_rest_that_can_be_embedded() -> None:
    assert seconds("fixed:10/5", 25.0) == [[(0, 10)], [(5, 15)], [(10, 20)], [(15, 25)]]
    assert seconds("fixed:10/10", 25.0) == [[(0, 10)], [(10, 20)], [(20, 25)]]
    assert seconds("fixed:10/10", 20.05) == [[(0, 10)], [(10, 20)]]
    assert seconds("fixed:10/5", 4.0) == [[(0, 4)]]


def test_only_the_first_seconds_are_taken_where_that_is_meant() -> None:
    assert seconds("full", 100.0, first_s=60.0) == [[(0.0, 60.0)]]
    assert str(Windows.of("full", 60.0)) != str(Windows.of("full"))


@given(st.integers(10, 3000), st.integers(1, 50), st.integers(1, 50))
def test_fixed_windows_lie_in_the_recording_and_are_sorted(length: int, window: int, hop: int) -> None:
    setting = Windows("fixed", window / 10, hop / 10)
    rows = cut(setting, np.ones(length, np.float32), RATE)
    spans = [row[0] for row in rows]
    assert spans and spans == sorted(set(spans))
    assert all(0 <= start < end <= length and end - start <= window * 10 for start, end in spans)


@pytest.mark.parametrize(
    "text", ["", "half", "fixed", "fixed:10", "fixed:10/0", "fixed:0/1", "fixed:1/1/1", "fixed:a/b"]
)
def test_what_is_no_window_setting_is_told(text: str) -> None:
    with pytest.raises(UserError, match="fixed:LEN/HOP"):
        Windows.of(text)


def test_a_row_of_many_is_named_by_where_its_window_starts() -> None:
    assert row_key("a.wav", 0.0, False) == "a.wav"
    starts = (0.0, 5.0, 2.5, 1234567.25)
    assert [row_key("a.wav", start, True) for start in starts] == [
        "a.wav#0",
        "a.wav#5",
        "a.wav#2.5",
        "a.wav#1234567.25",
    ]


def test_a_vector_has_the_length_1_or_is_refused() -> None:
    assert unit(np.array([3.0, 4.0])).tolist() == pytest.approx([0.6, 0.8])
    assert mean([np.array([2.0, 0.0]), np.array([0.0, 2.0])]).tolist() == pytest.approx([0.5**0.5] * 2)
    for bad, text in ((np.array([1.0, np.nan]), "not finite"), (np.zeros(3), "all zeros")):
        with pytest.raises(ValueError, match=text):
            unit(bad)

"""Measures to reasons: each threshold from both sides, and the rules that look at a whole video."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resplice.transforms.kinds import SIGNAL
from resplice.transforms.rules import Decider
from resplice.transforms.settings import SignalThresholds
from resplice.transforms.verdict import REASONS, correlation, shifted_transcripts, video_reasons

T = SignalThresholds()


def segment_reasons(measures: dict[str, Any], thresholds: SignalThresholds) -> list[str]:
    return SIGNAL.decider(vars(thresholds)).decide(measures)[1]


def doubtful(measures: dict[str, Any], thresholds: SignalThresholds, margins: dict[str, float]) -> set[str]:
    decider = Decider(SIGNAL.rules, vars(thresholds), margins)
    return {rule.reason for rule in decider.rules if decider.doubtful(rule, measures)}


GOOD: dict[str, Any] = {
    "duration_s": 3.0,
    "sample_rate": 16000,
    "channels": 1,
    "peak_dbfs": -3.0,
    "rms_dbfs": -20.0,
    "clipped_ratio": 0.0,
    "silence_ratio": 0.1,
    "longest_gap_s": 0.4,
    "chars": 45,
    "chars_per_s": 15.0,
    "words_per_s": 3.0,
    "unique_word_ratio": 1.0,
    "pcm_md5": "a",
}


@pytest.mark.parametrize(
    ("changes", "reasons"),
    [
        ({}, []),
        ({"duration_s": 0.3}, []),
        ({"duration_s": 0.299}, ["too_short"]),
        ({"duration_s": 30.0}, []),
        ({"duration_s": 30.001}, ["too_long"]),
        ({"peak_dbfs": -60.0}, []),
        ({"peak_dbfs": -60.1}, ["silent"]),
        ({"rms_dbfs": -45.0}, []),
        ({"rms_dbfs": -45.1}, ["too_quiet"]),
        ({"clipped_ratio": 0.01}, []),
        ({"clipped_ratio": 0.011}, ["clipped"]),
        ({"longest_gap_s": 3.0}, []),
        ({"longest_gap_s": 3.01}, ["silence_gap"]),
        ({"chars_per_s": 1.0}, []),
        ({"chars_per_s": 0.99}, ["rate_low"]),
        ({"chars_per_s": 40.0}, []),
        ({"chars_per_s": 40.1}, ["rate_high"]),
        ({"chars": 2}, []),
        ({"chars": 1}, ["empty_text"]),
        ({"chars": 0, "chars_per_s": 0.0}, ["rate_low", "empty_text"]),
        ({"duration_s": 0.0, "chars_per_s": 0.0}, ["too_short"]),
    ],
)
def test_a_reason_holds_beyond_its_threshold(changes: dict[str, Any], reasons: list[str]) -> None:
    assert segment_reasons({**GOOD, **changes}, T) == reasons


def test_all_reasons_come_in_the_order_of_the_contract() -> None:
    bad = {
        **dict.fromkeys(("peak_dbfs", "rms_dbfs"), -120.0),
        **dict.fromkeys(("chars", "chars_per_s"), 0.0),
        "duration_s": 0.1,
        "clipped_ratio": 1.0,
        "longest_gap_s": 9.0,
    }
    found = segment_reasons(bad, T)
    assert found == sorted(found, key=REASONS.index)
    assert len(found) == 7


def test_digital_silence_is_silent_and_too_quiet() -> None:
    assert segment_reasons({**GOOD, "peak_dbfs": -120.0, "rms_dbfs": -120.0}, T) == ["silent", "too_quiet"]


@pytest.mark.parametrize(
    ("rms", "doubts"), [(-47.1, set()), (-46.9, {"too_quiet"}), (-43.1, {"too_quiet"}), (-42.9, set())]
)
def test_a_reason_within_the_margin_is_doubtful(rms: float, doubts: set[str]) -> None:
    assert doubtful({**GOOD, "rms_dbfs": rms}, T, {"too_quiet_dbfs": 2.0, "rate_low": 1.0}) == doubts


def video(durations: list[float], chars: list[int]) -> list[dict[str, Any] | None]:
    return [
        {**GOOD, "duration_s": seconds, "chars": count, "pcm_md5": str(j)}
        for j, (seconds, count) in enumerate(zip(durations, chars, strict=True))
    ]


def test_an_ordinary_video_has_no_reasons() -> None:
    assert video_reasons(video([1.0, 2.0, 3.0] * 4, [15, 31, 44] * 4), T) == [[]] * 12


def test_an_empty_video_has_no_rows() -> None:
    assert video_reasons([], T) == []


def test_the_later_of_two_segments_with_the_same_audio_is_the_duplicate() -> None:
    segments = video([3.0] * 4, [45] * 4)
    for j, digest in enumerate("abab"):
        segments[j] = {**GOOD, "pcm_md5": digest}
    assert video_reasons([None, *segments, None], T) == [
        *([], [], []),
        *(["duplicate_audio"], ["duplicate_audio"]),
        [],
    ]


def test_a_duration_far_off_its_text_is_an_outlier_from_eight_segments_on() -> None:
    chars = [20, 30, 40, 50, 60, 70, 80, 50]
    durations = [c / 15 * f for c, f in zip(chars, [1, 1.1, 0.9, 1.05, 0.95, 1, 1.02, 4], strict=True)]
    assert video_reasons(video(durations, chars), T) == [[]] * 7 + [["duration_outlier"]]
    assert video_reasons(video(durations[1:], chars[1:]), T) == [[]] * 7


def test_outliers_are_those_beyond_the_fences_of_linear_percentiles() -> None:
    # seconds a character: 1…7 and x; with x = 17.5: q1 = 2.75, q3 = 6.25, upper fence 6.25 + 3 · 3.5 = 16.75
    assert video_reasons(video([10.0 * v for v in (1, 2, 3, 4, 5, 6, 7, 16.76)], [10] * 8), T)[-1] == [
        "duration_outlier"
    ]
    assert video_reasons(video([10.0 * v for v in (1, 2, 3, 4, 5, 6, 7, 16.74)], [10] * 8), T)[-1] == []


def test_segments_of_less_than_two_characters_or_undecodable_ones_take_no_part_in_outliers() -> None:
    chars = [20, 30, 40, 50, 60, 70, 80]
    segments = video([*(c / 15 for c in chars), 90.0], [*chars, 1])
    assert video_reasons([*segments, None], T) == [[]] * 9


def test_equal_rates_have_no_outliers_whatever_the_rounding() -> None:
    chars = [1 + n for n in range(1, 60)]
    assert not any(video_reasons(video([0.1 * c for c in chars], chars), T))


RNG = np.random.default_rng(7)
DURATIONS = [float(d) for d in np.exp(RNG.normal(1, 0.6, 30))]
TEXTS = [max(2, round(15 * d)) for d in DURATIONS]


@pytest.mark.parametrize("shift", [-1, 1])
def test_texts_that_fit_their_neighbours_give_every_row_of_the_video_the_reason(shift: int) -> None:
    segments = video(DURATIONS, [TEXTS[(j + shift) % 30] for j in range(30)])
    segments.insert(5, None)
    assert all("shifted_transcripts" in reasons for reasons in video_reasons(segments, T))


@pytest.mark.parametrize(
    ("name", "durations", "chars"),
    [
        ("in place", DURATIONS, TEXTS),
        ("shifted by two", DURATIONS, TEXTS[2:] + TEXTS[:2]),
        ("seven segments", DURATIONS[:7], TEXTS[1:8]),
        ("all texts equal", DURATIONS, [30] * 30),
        ("durations too alike", [2.0 + 0.01 * d for d in DURATIONS], TEXTS[1:] + TEXTS[:1]),
        ("a slow drift fits both ways", [1.1**j for j in range(30)], [round(20 * 1.1 ** (j + 1)) for j in range(30)]),
    ],
)
def test_other_videos_are_not_shifted(name: str, durations: list[float], chars: list[int]) -> None:
    assert not shifted_transcripts(video(durations, chars))


def test_segments_without_text_do_not_break_the_pairing() -> None:
    shifted: list[dict[str, Any] | None] = video(DURATIONS[:8], TEXTS[1:9])
    assert shifted_transcripts(shifted)
    with_gaps = [part for segment in shifted for part in (segment, {**GOOD, "chars": 0}, None)]
    assert shifted_transcripts(with_gaps)
    assert not shifted_transcripts(with_gaps[:21])  # seven with text


@given(st.lists(st.tuples(st.floats(-5, 5), st.floats(-5, 5)), min_size=3, max_size=20))
def test_correlation_is_pearsons_and_always_finite(pairs: list[tuple[float, float]]) -> None:
    a, b = np.array(pairs).T
    r = correlation(a, b)
    assert math.isfinite(r) and abs(r) <= 1
    if a.std() > 1e-3 and b.std() > 1e-3:
        assert r == pytest.approx(np.corrcoef(a, b)[0, 1], abs=1e-6)


@given(
    st.lists(st.none() | st.tuples(st.floats(0, 100), st.integers(0, 500), st.sampled_from("abcdefghij")), max_size=20)
)
def test_any_video_gets_one_ordered_list_a_segment(parts: list[tuple[float, int, str] | None]) -> None:
    segments = [p and {**GOOD, "duration_s": p[0], "chars": p[1], "pcm_md5": p[2]} for p in parts]
    found = video_reasons(segments, T)
    assert len(found) == len(parts)
    assert all(reasons == sorted(reasons, key=REASONS.index) for reasons in found)
    assert len({"shifted_transcripts" in reasons for reasons in found}) <= 1

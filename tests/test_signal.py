"""The measures of a segment, against values that are known beforehand or a plain reference."""

from __future__ import annotations

import math
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from resplice.transforms.signal import MEASURES, dbfs, longest_run, measure, text_measures

RATE = 16_000


def measured(samples: Any, rate: int = RATE, text: str = "", **options: Any) -> dict[str, Any]:
    samples = np.asarray(samples)
    if samples.ndim == 1:
        samples = samples.astype(np.int16)[:, None]
    return measure(samples, rate, text, **{"gap_dbfs": -50.0, "clipped_level": 0.999, "md5": "5d", **options})


def sine(seconds: float, level: float, dtype: Any = np.int16, rate: int = RATE) -> np.ndarray[Any, Any]:
    full = 2 ** (np.dtype(dtype).itemsize * 8 - 1)
    wave = np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate)) / rate)
    return np.asarray(np.round(wave * level * (full - 1)), dtype=dtype)


def test_the_measures_are_those_of_the_contract() -> None:
    assert tuple(measured(sine(1, 0.5))) == MEASURES


@pytest.mark.parametrize("dtype", [np.int16, np.int32])
def test_levels_of_a_sine_are_absolute_whatever_the_depth(dtype: Any) -> None:
    m = measured(sine(2, 0.5, dtype)[:, None])
    assert m["peak_dbfs"] == pytest.approx(-6.02, abs=0.01)
    assert m["rms_dbfs"] == pytest.approx(-9.03, abs=0.01)
    assert (m["duration_s"], m["sample_rate"], m["channels"], m["pcm_md5"]) == (2.0, RATE, 1, "5d")


def test_full_scale_is_zero_also_where_the_absolute_value_overflows() -> None:
    assert measured(np.full(RATE, -32768))["peak_dbfs"] == 0.0
    assert measured(np.full(RATE, -32768))["rms_dbfs"] == 0.0


def test_digital_silence_is_at_the_floor() -> None:
    m = measured(np.zeros(RATE))
    assert (m["peak_dbfs"], m["rms_dbfs"], m["silence_ratio"], m["longest_gap_s"]) == (-120.0, -120.0, 1.0, 1.0)


def test_one_step_of_32_bits_is_below_the_floor_and_shown_at_it() -> None:
    assert measured(np.ones((RATE, 1), dtype=np.int32))["peak_dbfs"] == -120.0


def test_silence_below_the_floor_cannot_be_asked_for() -> None:
    assert measured(np.zeros(RATE), gap_dbfs=-120.0)["silence_ratio"] == 0.0


def test_clipping_counts_samples_of_all_channels_at_or_above_the_level() -> None:
    samples = np.zeros((100, 2), dtype=np.int16)
    samples[:3, 0] = [32767, -32768, 32736]  # 32736 / 32768 = 0.99902…
    samples[3, 1] = 32735  # 0.99899…
    assert measured(samples)["clipped_ratio"] == 3 / 200


def test_gaps_are_counted_in_whole_frames_and_the_rest_is_no_frame() -> None:
    loud, quiet = np.full(160, 8000), np.zeros(160)
    pattern = [loud, quiet, quiet, loud, quiet, quiet, quiet, loud]
    m = measured(np.concatenate([*pattern, np.zeros(159)]))
    assert (m["silence_ratio"], m["longest_gap_s"]) == (5 / 8, 0.03)


def test_a_frame_is_silent_by_its_mean_over_channels() -> None:
    samples = np.zeros((160, 2), dtype=np.int16)
    samples[:, 0] = round(32768 * 10 ** (-48.5 / 20))  # -48.5 in one channel of two: -51.5 together
    assert measured(samples)["silence_ratio"] == 1.0
    assert measured(samples, gap_dbfs=-52.0)["silence_ratio"] == 0.0


@pytest.mark.parametrize(("rate", "frame"), [(22_050, 220), (8_000, 80), (100, 1), (99, 0)])
def test_a_frame_is_a_hundredth_of_the_rate_rounded_down(rate: int, frame: int) -> None:
    m = measured(np.zeros(3 * frame), rate=rate)
    assert m["longest_gap_s"] == 3 * frame / rate


@pytest.mark.parametrize("shape", [(0, 1), (0, 2), (5, 0), (1, 1), (159, 1)])
@pytest.mark.parametrize("text", ["", " \n", "ab c"])
def test_nothing_is_measured_as_finite_values(shape: tuple[int, int], text: str) -> None:
    m = measured(np.zeros(shape, dtype=np.int16), text=text)
    assert all(math.isfinite(value) for value in m.values() if not isinstance(value, str))
    assert (m["peak_dbfs"], m["silence_ratio"], m["longest_gap_s"]) == (-120.0, 0.0, 0.0)


@pytest.mark.parametrize("samples", [np.zeros((3, 1)), np.zeros((3, 1), dtype=np.uint8), np.zeros(3, dtype=np.int16)])
def test_other_arrays_than_frames_of_integers_are_refused(samples: Any) -> None:
    with pytest.raises(ValueError, match="signed integers"):
        measure(samples, RATE, "", gap_dbfs=-50.0, clipped_level=0.999, md5="")


@pytest.mark.parametrize(
    ("text", "chars", "words", "unique"),
    [
        ("", 0, 0, 0.0),
        ("  \t\n ", 0, 0, 0.0),
        ("one two", 6, 2, 1.0),
        ("No no NO yes", 9, 4, 0.5),
        ("a\u00a0b\u3000c\n", 3, 3, 1.0),
        ("日本語", 3, 1, 1.0),
    ],
)
def test_text_is_counted_without_white_space(text: str, chars: int, words: int, unique: float) -> None:
    found = text_measures(text, 2.0)
    assert found == {
        "chars": chars,
        "chars_per_s": chars / 2,
        "words_per_s": words / 2,
        "unique_word_ratio": unique,
    }


@given(
    hnp.arrays(np.int16, st.tuples(st.integers(1, 2000), st.integers(1, 3))),
    st.integers(100, 48_000),
    st.floats(-90, -5),
)
def test_measures_equal_the_plain_formulas(samples: Any, rate: int, gap: float) -> None:
    m = measured(samples, rate=rate, gap_dbfs=gap)
    level = samples.astype(np.float64) / 32768
    n = rate // 100
    frames = [dbfs(math.sqrt(np.mean(level[i : i + n] ** 2))) for i in range(0, len(level) - n + 1, n)]
    assert m["peak_dbfs"] == pytest.approx(dbfs(np.abs(level).max()))
    assert m["rms_dbfs"] == pytest.approx(dbfs(math.sqrt(np.mean(level**2))))
    assert m["clipped_ratio"] == np.mean(np.abs(level) >= 0.999)
    assert m["silence_ratio"] == pytest.approx(np.mean([f < gap for f in frames]) if frames else 0.0)


def test_blocks_do_not_show_in_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    samples = (rng.normal(size=(50_000, 2)) * np.repeat(rng.uniform(0, 300, 500), 100)[:, None]).astype(np.int16)
    whole = measured(samples)
    monkeypatch.setattr("resplice.transforms.signal._BLOCK", 1000)
    assert measured(samples) == {**whole, "rms_dbfs": pytest.approx(whole["rms_dbfs"], abs=1e-9)}
    assert 0.1 < whole["silence_ratio"] < 0.9


def test_half_an_hour_needs_little_memory_beside_the_samples() -> None:
    samples = np.zeros((30 * 60 * RATE, 1), dtype=np.int16)
    tracemalloc.start()
    measured(samples)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < samples.nbytes / 8


@given(st.lists(st.booleans(), max_size=60))
def test_the_longest_run_is_the_longest(flags: list[bool]) -> None:
    runs = "".join("x" if flag else " " for flag in flags).split()
    assert longest_run(np.array(flags, dtype=np.bool_)) == max(map(len, runs), default=0)

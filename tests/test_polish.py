"""The built-in splitter, against a slow reading of the contract's text, rule by rule."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from resplice.transforms.polish import split

Pieces = list[tuple[int, int]]


@dataclass(frozen=True)
class Config:
    silence_dbfs: float = -40.0
    pad_s: float = 0.02
    max_segment_s: float = 0.3
    min_silence_s: float = 0.03


def half_even(value: float) -> int:
    low = math.floor(value)
    if value - low != 0.5:
        return math.floor(value + 0.5)
    return low if low % 2 == 0 else low + 1


def loud_frames(samples: NDArray[Any], rate: int, config: Config) -> list[int]:
    n, full = rate // 100, 2 ** (samples.dtype.itemsize * 8 - 1)
    found = []
    for frame in range(len(samples) // n):
        values = [int(v) / full for sample in samples[frame * n : frame * n + n] for v in sample]
        if math.sqrt(math.fsum(v * v for v in values) / len(values)) >= 10 ** (config.silence_dbfs / 20):
            found.append(frame)
    return found


def naive_split(samples: NDArray[Any], rate: int, config: Config) -> Pieces:
    n = rate // 100
    pad, most, gap = (half_even(s * rate) for s in (config.pad_s, config.max_segment_s, config.min_silence_s))
    loud = loud_frames(samples, rate, config)

    def sound(a: int, b: int) -> tuple[int, int] | None:
        inside = [frame for frame in loud if a <= frame * n < b]
        if not inside:
            return None
        return max(a, inside[0] * n - pad), min(b, (inside[-1] + 1) * n + pad)

    def cut_from(begin: int) -> int:
        cut = None
        for before, end in pairwise(loud):
            first = before + 1
            middle = (first + end) * n // 2
            if first < end and (end - first) * n >= gap and begin < middle <= begin + most:
                cut = middle
        return begin + most if cut is None else cut

    whole = sound(0, len(samples))
    if whole is None:
        return []
    begin, end = whole
    if end - begin <= most:
        return [whole]
    pieces = []
    while end - begin > most:
        cut = cut_from(begin)
        pieces.append(sound(begin, cut))
        begin = cut
    pieces.append(sound(begin, end))
    return [piece for piece in pieces if piece]


@st.composite
def signals(draw: st.DrawFn) -> tuple[NDArray[Any], int, Config]:
    rate = draw(st.sampled_from([1000, 999, 1050, 1200, 100]))
    dtype = draw(st.sampled_from([np.int16, np.int32]))
    channels = draw(st.sampled_from([1, 2]))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    full = 2 ** (8 * np.dtype(dtype).itemsize - 1) - 1
    parts = []
    for frames, level in draw(
        st.lists(st.tuples(st.integers(1, 60), st.sampled_from([0, 0.001, 0.02, 0.5])), max_size=8)
    ):
        length = frames * (rate // 100) + draw(st.integers(0, 9))
        parts.append(generator.uniform(-level, level, (length, channels)) * full)
    samples = np.concatenate([np.zeros((0, channels)), *parts]).astype(dtype)
    config = Config(
        silence_dbfs=draw(st.sampled_from([-40.0, -20.0, -60.0])),
        pad_s=draw(st.sampled_from([0.0, 0.0005, 0.0125, 0.02, 0.1])),
        max_segment_s=draw(st.sampled_from([0.05, 0.123, 0.3, 1.0])),
        min_silence_s=draw(st.sampled_from([0.0, 0.03, 0.0305, 0.1, 0.3])),
    )
    return samples, rate, config


@settings(deadline=None, max_examples=120)
@given(signals())
def test_it_cuts_where_the_contract_says(drawn: tuple[NDArray[Any], int, Config]) -> None:
    samples, rate, config = drawn
    assert split(samples, rate, **asdict(config)) == naive_split(samples, rate, config)


@settings(deadline=None, max_examples=120)
@given(signals())
def test_pieces_are_ordered_disjoint_short_enough_and_hold_every_loud_frame_once(
    drawn: tuple[NDArray[Any], int, Config],
) -> None:
    samples, rate, config = drawn
    pieces = split(samples, rate, **asdict(config))
    assert all(0 <= start < end <= len(samples) for start, end in pieces)
    assert all(before[1] <= after[0] for before, after in pairwise(pieces))
    assert all(end - start <= half_even(config.max_segment_s * rate) for start, end in pieces)
    begins = [frame * (rate // 100) for frame in loud_frames(samples, rate, config)]
    assert [sum(start <= begin < end for start, end in pieces) for begin in begins] == [1] * len(begins)
    assert all(any(start <= begin < end for begin in begins) for start, end in pieces)


@settings(deadline=None, max_examples=50)
@given(signals())
def test_the_same_input_gives_the_same_pieces_and_stays_what_it_was(drawn: tuple[NDArray[Any], int, Config]) -> None:
    samples, rate, config = drawn
    before = samples.copy()
    first = split(samples, rate, **asdict(config))
    assert split(np.asfortranarray(samples), rate, **asdict(config)) == first
    assert np.array_equal(samples, before)


def blocks(*parts: tuple[int, int], channels: int = 1, dtype: Any = np.int16) -> NDArray[Any]:
    """Return constant samples: (number of samples, value) after each other."""
    return np.concatenate([np.full((count, channels), value, dtype) for count, value in parts])


LOUD = 10_000


@pytest.mark.parametrize(
    ("samples", "settings_", "expected"),
    [
        pytest.param(blocks((0, 0)), {}, [], id="nothing at all"),
        pytest.param(blocks((500, 0)), {}, [], id="no sound"),
        pytest.param(blocks((100, 0), (9, LOUD)), {}, [], id="a shorter rest is no frame"),
        pytest.param(blocks((9, LOUD)), {}, [], id="less than one frame"),
        pytest.param(blocks((300, LOUD)), {}, [(0, 300)], id="exactly max is one piece"),
        pytest.param(blocks((310, LOUD)), {}, [(0, 300), (300, 310)], id="one frame more is a hard cut"),
        pytest.param(blocks((100, 0), (50, LOUD), (100, 0)), {}, [(80, 170)], id="pad on both sides"),
        pytest.param(blocks((10, 0), (50, LOUD), (10, 0)), {}, [(0, 70)], id="pad is clipped to the audio"),
        pytest.param(blocks((50, LOUD), (5, 0)), {}, [(0, 55)], id="the rest of a frame may be pad"),
        pytest.param(
            blocks((200, LOUD), (60, 0), (200, LOUD)), {}, [(0, 220), (240, 460)], id="cut in the middle, then padded"
        ),
        pytest.param(
            blocks((100, LOUD), (30, 0), (100, LOUD), (30, 0), (200, LOUD)), {}, [(0, 245), (245, 460)],
            id="the last stretch within max"
        ),
        pytest.param(
            blocks((200, LOUD), (20, 0), (200, LOUD)), {}, [(0, 300), (300, 420)], id="a stretch below gap is none"
        ),
        pytest.param(
            blocks((290, LOUD), (30, 0), (100, LOUD)), {}, [(0, 300), (300, 420)], id="a middle after max is none"
        ),
        pytest.param(
            blocks((280, LOUD), (40, 0), (100, LOUD)), {}, [(0, 300), (300, 420)], id="a middle exactly at max is one"
        ),
        pytest.param(
            blocks((100, LOUD), (40, 0), (140, LOUD), (40, 0), (100, LOUD)), {}, [(0, 300), (300, 420)],
            id="the middle at max is later than one before it"
        ),
        pytest.param(
            blocks((100, LOUD), (500, 0), (100, LOUD)), {}, [(0, 120), (580, 650), (650, 700)],
            id="cuts in silence longer than max decide where the next piece begins"
        ),
        pytest.param(
            blocks((100, LOUD), (1000, 0), (10, LOUD)), {"pad_s": 0.0}, [(0, 100), (1100, 1110)],
            id="pieces without sound are dropped"
        ),
        pytest.param(
            blocks((10, LOUD), (340, 0)), {"pad_s": 0.4}, [(0, 300)], id="one piece may be left, with its own bounds"
        ),
        pytest.param(blocks((50, 0), (40, LOUD)), {"pad_s": 0.0025}, [(48, 90)], id="2.5 samples round to 2"),
        pytest.param(blocks((50, 0), (40, LOUD)), {"pad_s": 0.0015}, [(48, 90)], id="1.5 samples round to 2"),
        pytest.param(blocks((50, 0), (40, LOUD)), {"pad_s": 0.0005}, [(50, 90)], id="0.5 samples round to 0"),
    ],
)  # fmt: skip
def test_short_signals_at_1000_hz(samples: NDArray[Any], settings_: dict[str, float], expected: Pieces) -> None:
    config = Config(**settings_)
    assert naive_split(samples, 1000, config) == expected
    assert split(samples, 1000, **asdict(config)) == expected


@pytest.mark.parametrize(
    ("dtype", "value", "loud"),
    [(np.int16, -32768, True), (np.int16, 32767, False), (np.int32, -(2**31), True), (np.int32, 2**31 - 1, False)],
)
def test_full_scale_is_two_to_the_bits_minus_one(dtype: Any, value: int, loud: bool) -> None:
    samples = blocks((10, value), dtype=dtype)
    assert split(samples, 1000, silence_dbfs=0.0, pad_s=0.0) == ([(0, 10)] if loud else [])


def test_a_frame_that_is_exactly_at_the_level_is_loud() -> None:
    assert split(blocks((10, 3277)), 1000, silence_dbfs=20 * math.log10(3277 / 32768) - 1e-9, pad_s=0.0) == [(0, 10)]
    assert split(blocks((10, 3277)), 1000, silence_dbfs=20 * math.log10(3277 / 32768) + 1e-9, pad_s=0.0) == []


def test_the_rms_is_over_samples_and_channels_together() -> None:
    one_sided = np.zeros((10, 2), np.int16)
    one_sided[:, 0] = 16384  # RMS 0.5 / sqrt(2) of full scale: -9.03 dBFS
    assert split(one_sided, 1000, silence_dbfs=-9.0, pad_s=0.0) == []
    assert split(one_sided, 1000, silence_dbfs=-9.1, pad_s=0.0) == [(0, 10)]


def test_the_defaults_are_those_of_the_configuration() -> None:
    rate = 1000
    samples = blocks((200, 0), (10_000, LOUD), (300, 0), (10_000, LOUD))
    expected = split(samples, rate, silence_dbfs=-40.0, pad_s=0.1, max_segment_s=15.0, min_silence_s=0.3)
    assert split(samples, rate) == expected == [(100, 10_300), (10_400, 20_500)]


def test_long_audio_is_measured_like_short_audio() -> None:
    generator = np.random.default_rng(7)
    levels = np.repeat(generator.integers(0, 2, 2000), 10)[:, None] * LOUD
    samples = (np.tile(levels, (3, 1)) + generator.integers(-3, 4, (60_000, 1))).astype(np.int16)
    config = Config(max_segment_s=3.0)
    assert split(samples, 1000, **asdict(config)) == naive_split(samples, 1000, config)

"""What each optional engine measures, on made signals with known answers."""

from __future__ import annotations

import io
import shutil
import subprocess
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
import speaking
from hypothesis import given, settings
from hypothesis import strategies as st

from resplice.io.audio import decode, encode
from resplice.io.loudness import Loudness
from resplice.io.snr import Snr
from resplice.io.vad import Vad
from resplice.transforms import wada
from resplice.transforms.kinds import KINDS, LOUDNESS, SNR, VAD
from resplice.transforms.records import UserError
from resplice.transforms.rules import Kind

Signal = npt.NDArray[np.float64]
RATE = 48_000
FULL = 32767


def tone(dbfs: float, seconds: float, hz: float = 1000.0, rate: int = RATE, phase: float = 0.0) -> Signal:
    """Return a sine whose peak is `dbfs` below full scale."""
    return 10 ** (dbfs / 20) * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate + phase)


def pcm(*channels: Signal) -> npt.NDArray[np.int16]:
    return np.round(np.stack(channels, axis=1) * FULL).astype(np.int16)


def stereo(*parts: tuple[float, float]) -> npt.NDArray[np.int16]:
    """Return the same tones in both channels: (dBFS, seconds) one after the other."""
    signal = np.concatenate([tone(dbfs, seconds) for dbfs, seconds in parts])
    return pcm(signal, signal)


def loudness(samples: npt.NDArray[np.int16], rate: int = RATE) -> dict[str, Any]:
    return Loudness().measure(samples, rate, {})


# Loudness: ITU-R BS.1770-4 (0 dBFS of 997 Hz in one channel reads -3.01 LKFS), and the minimum requirements of EBU Tech
# 3341: test cases 1 to 6 for the integrated loudness, 15 to 19 for the true peak.


@pytest.mark.parametrize("rate", [16_000, 44_100, 48_000])
def test_full_scale_in_one_channel_reads_minus_3_01(rate: int) -> None:
    assert loudness(pcm(tone(0.0, 5, 997.0, rate)), rate)["loudness_lufs"] == pytest.approx(-3.01, abs=0.1)


TECH_3341 = {
    "1": stereo((-23.0, 20.0)),
    "3": stereo((-36.0, 10.0), (-23.0, 60.0), (-36.0, 10.0)),
    "4": stereo((-72.0, 10.0), (-36.0, 10.0), (-23.0, 60.0), (-36.0, 10.0), (-72.0, 10.0)),
    "5": stereo((-26.0, 20.0), (-20.0, 20.1), (-26.0, 20.0)),
    "6": pcm(tone(-28, 20), tone(-28, 20), tone(-24, 20), tone(-30, 20), tone(-30, 20)),
}


@pytest.mark.parametrize("case", TECH_3341)
def test_the_integrated_loudness_of_tech_3341_is_minus_23(case: str) -> None:
    assert loudness(TECH_3341[case])["loudness_lufs"] == pytest.approx(-23.0, abs=0.1)


@pytest.mark.parametrize("rate", [11_025, 22_050, 48_000])
def test_an_incomplete_block_at_the_end_does_not_count(rate: int) -> None:
    whole = pcm(tone(-23.0, 1.0, rate=rate))
    loud = pcm(tone(-3.0, 0.09, rate=rate))
    assert loudness(np.concatenate([whole, loud]), rate)["loudness_lufs"] == loudness(whole, rate)["loudness_lufs"]


def test_the_back_channels_of_four_weigh_as_those_of_five() -> None:
    silent, front, back = np.zeros(2 * RATE), tone(-20, 2), tone(-26, 2)
    four, five = pcm(front, front, back, back), pcm(front, front, silent, back, back)
    assert loudness(four)["loudness_lufs"] == loudness(five)["loudness_lufs"]


def test_case_2_of_tech_3341_is_minus_33() -> None:
    assert loudness(stereo((-33.0, 20.0)))["loudness_lufs"] == pytest.approx(-33.0, abs=0.1)


@pytest.mark.parametrize(
    ("case", "part", "degrees", "amplitude", "peak"),
    [(15, 4, 0.0, 0.5, -6.0), (16, 4, 45.0, 0.5, -6.0), (17, 6, 60.0, 0.5, -6.0), (18, 8, 67.5, 0.5, -6.0),
     (19, 4, 45.0, 1.41, 3.0)],
)  # fmt: skip
def test_the_true_peak_of_tech_3341_is_found_between_the_samples(
    case: int, part: int, degrees: float, amplitude: float, peak: float
) -> None:
    signal = tone(20 * np.log10(amplitude), 1.0, RATE / part, phase=np.radians(degrees))
    fade = np.minimum(1, np.minimum(np.arange(RATE), np.arange(RATE)[::-1]) / (0.01 * RATE))
    found = loudness(pcm(signal * fade, np.zeros(RATE)))["true_peak_dbtp"]
    assert -0.4 <= found - peak <= 0.2, case


def test_silence_is_minus_70_and_less_than_a_block_has_no_loudness() -> None:
    assert loudness(np.zeros((RATE, 1), np.int16)) == {"loudness_lufs": -70.0, "true_peak_dbtp": -120.0}
    short = loudness(pcm(tone(-20, 0.3)))
    assert short["loudness_lufs"] is None and short["true_peak_dbtp"] == pytest.approx(-20, abs=0.2)
    assert loudness(np.zeros((0, 1), np.int16))["true_peak_dbtp"] == -120.0


@pytest.mark.parametrize(("rate", "known"), [(50, False), (2000, False), (3999, False), (4000, True), (8000, True)])
def test_a_rate_that_the_filter_does_not_reach_has_no_loudness_and_is_left_to_others(rate: int, known: bool) -> None:
    samples = pcm(tone(-20, 2, rate / 10, rate))
    status, reasons, measures = Loudness().judge(samples, rate, {})
    assert (status, reasons) == ("passed" if known else "unsure", [])
    found = measures["loudness_lufs"]
    assert found == pytest.approx(-23, abs=1) if known else found is None


def test_24_bits_read_as_16() -> None:
    signal = tone(-23, 2)
    wide = np.round(signal[:, None] * (2**23 - 1)).astype(np.int32) << 8
    assert loudness(wide)["loudness_lufs"] == pytest.approx(loudness(pcm(signal))["loudness_lufs"], abs=1e-3)


# VAD: espeak-ng between stretches of digital silence of known length


@cache
def spoken(voice: str = "en-us") -> tuple[npt.NDArray[np.int16], int]:
    """Return three sentences by espeak-ng, without silence at the ends, and their rate."""
    speaking.demand()
    said = [shutil.which("espeak-ng") or "", "-v", voice, "--stdout", " ".join(speaking.SENTENCES)]
    samples, rate = soundfile.read(
        io.BytesIO(subprocess.run(said, capture_output=True, check=True).stdout), dtype="int16"
    )
    loud = np.flatnonzero(np.abs(samples) > 100)
    return samples[loud[0] : loud[-1] + 1], rate


BOUND_S = 0.1
"""Windows of 32 ms, and the detector takes one or two to make up its mind."""


@pytest.mark.parametrize(("lead", "pause", "tail"), [(0.5, 1.0, 0.3), (1.0, 2.5, 1.0), (0.2, 4.0, 2.0)])
def test_speech_between_silence_has_its_bounds(lead: float, pause: float, tail: float) -> None:
    speech, rate = spoken()
    rests = [np.zeros(round(seconds * rate), np.int16) for seconds in (lead, pause, tail)]
    samples = np.concatenate([rests[0], speech, rests[1], speech, rests[2]])[:, None]
    found = Vad().measure(samples, rate, {})
    share = 2 * len(speech) / len(samples)
    assert found["speech_lead_s"] == pytest.approx(lead, abs=BOUND_S)
    assert found["longest_pause_s"] == pytest.approx(pause, abs=BOUND_S)
    assert found["speech_tail_s"] == pytest.approx(tail, abs=BOUND_S)
    assert 0.75 * share < found["speech_ratio"] < share + 0.05  # between sentences there is silence, too


def test_a_cut_in_a_word_is_speech_at_the_edge() -> None:
    speech, rate = spoken()
    middle = speech[len(speech) // 3 : len(speech) // 3 + rate]
    found = Vad(cut_start=0.05, cut_end=0.05).judge(middle[:, None], rate, {})
    whole = np.concatenate([np.zeros(rate // 4, np.int16), speech, np.zeros(rate // 4, np.int16)])
    assert "cut_end" in found[1] and Vad(cut_start=0.05, cut_end=0.05).judge(whole[:, None], rate, {})[0] == "passed"


@pytest.mark.parametrize("kind", ["silence", "noise", "tone", "nothing"])
def test_what_is_no_speech_has_none(kind: str) -> None:
    signals = {
        "silence": np.zeros(2 * RATE), "tone": tone(-12, 2), "nothing": np.zeros(0),
        "noise": np.random.default_rng(0).normal(0, 0.05, 2 * RATE),
    }  # fmt: skip
    found = Vad().measure(pcm(signals[kind]), RATE, {})
    seconds = len(signals[kind]) / RATE
    assert found == {"speech_ratio": 0.0, "longest_pause_s": 0.0, "speech_lead_s": seconds, "speech_tail_s": seconds}


def test_a_segment_is_judged_alike_whatever_came_before() -> None:
    speech, rate = spoken()
    alone = Vad().measure(speech[:rate, None], rate, {})
    Vad().measure(speech[rate:, None], rate, {})
    assert Vad().measure(speech[:rate, None], rate, {}) == alone


# SNR: noise at known levels


def mixed(speech: Signal, db: float) -> npt.NDArray[np.int16]:
    noise = np.random.default_rng(7).normal(size=len(speech))
    signal = speech / np.sqrt((speech**2).mean()) + noise * 10 ** (-db / 20)
    return np.round(signal * 1500).clip(-32768, 32767).astype(np.int16)[:, None]


@pytest.mark.parametrize("db", [0, 5, 10, 15, 20, 25, 30])
def test_speech_in_noise_has_its_ratio_within_3_db(db: float) -> None:
    for voice in ("en-us", "de"):
        speech, rate = spoken(voice)
        assert Snr().measure(mixed(speech.astype(np.float64), db), rate, {})["snr_db"] == pytest.approx(db, abs=3), (
            voice
        )


@pytest.mark.parametrize("db", [-10, 0, 10, 20, 30, 40])
def test_what_has_the_distribution_of_the_definition_has_its_ratio(db: float) -> None:
    random = np.random.default_rng(3)
    speech = random.gamma(wada.SHAPE, 1, 500_000) * random.choice([-1, 1], 500_000)
    tolerance = 0.3 if db >= 0 else 2.0  # below 0 dB the table is flat
    assert Snr().measure(mixed(speech, db), 16000, {})["snr_db"] == pytest.approx(db, abs=tolerance)


def test_the_table_ends_at_normal_noise_and_grows() -> None:
    levels, gaps = wada.gap_table()
    normal = 0.5 * np.log(2 / np.pi) + (0.5772156649015329 + np.log(2)) / 2
    assert (levels[0], levels[-1], len(levels)) == (-20.0, 100.0, 121)
    assert gaps[0] == pytest.approx(normal, abs=1e-4) and (np.diff(gaps) > 0).all()


def test_silence_and_a_constant_have_no_ratio_and_the_worst_channel_counts() -> None:
    assert Snr().judge(np.zeros((1000, 1), np.int16), 16000, {}) == ("unsure", [], {"snr_db": None})
    assert Snr().measure(np.full((1000, 2), 40, np.int16), 16000, {}) == {"snr_db": None}
    random = np.random.default_rng(3)
    speech = random.gamma(wada.SHAPE, 1, 100_000) * random.choice([-1, 1], 100_000)
    both = np.concatenate([mixed(speech, 30), mixed(speech, 10)], axis=1)
    assert Snr().measure(both, 16000, {})["snr_db"] == pytest.approx(10, abs=0.5)


def test_an_offset_and_the_width_of_samples_change_nothing() -> None:
    random = np.random.default_rng(3)
    samples = mixed(random.gamma(wada.SHAPE, 1, 100_000) * random.choice([-1, 1], 100_000), 20)
    base = Snr().measure(samples, 16000, {})["snr_db"]
    assert Snr().measure(samples + 900, 16000, {})["snr_db"] == pytest.approx(base, abs=0.2)
    assert Snr().measure(samples.astype(np.int32) << 16, 16000, {})["snr_db"] == pytest.approx(base, abs=0.1)


def test_the_bits_of_a_file_change_nothing_but_what_they_cut_off() -> None:
    random = np.random.default_rng(3)
    samples = mixed(4 * random.gamma(wada.SHAPE, 1, 100_000) * random.choice([-1, 1], 100_000), 10)
    base = Snr().measure(samples, 16000, {})["snr_db"]
    eight = decode(encode(np.round(samples / 256).astype(np.int16) << 8, 16000, 8)).samples
    assert Snr().measure(eight, 16000, {})["snr_db"] == pytest.approx(base, abs=1)
    wide = decode(encode(samples.astype(np.int32) << 16, 16000, 24)).samples
    assert Snr().measure(wide, 16000, {}) == Snr().measure(samples, 16000, {})


# Settings and decisions


@pytest.mark.parametrize(("engine", "kind"), [(Loudness, LOUDNESS), (Vad, VAD), (Snr, SNR)])
def test_a_wrong_setting_names_the_nearest_and_both_sides(engine: Any, kind: Kind) -> None:
    name = next(iter(kind.thresholds))
    with pytest.raises(UserError, match=rf"\[validate.{kind.name}\] {name}s is not a setting; .* {name}\n"):
        engine(**{f"{name}s": 1})
    with pytest.raises(UserError, match="give a finite number"):
        engine(**{name: "1"})
    with pytest.raises(UserError, match="give true or false"):
        engine(passes=1)
    with pytest.raises(UserError, match="a margin is at least 0"):
        engine(**{f"margin_{name}": -1})


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(KINDS)), st.data())
def test_a_reason_is_certain_on_either_side_of_its_margin_and_unsure_within(name: str, data: st.DataObject) -> None:
    kind = KINDS[name]
    rule = data.draw(st.sampled_from(kind.rules))
    value, margin = data.draw(st.integers(-50, 50)), data.draw(st.integers(1, 10))
    others = {other.setting: -1e9 if other.fails == "below" else 1e9 for other in kind.rules}
    decider = kind.decider({**others, rule.setting: value, f"margin_{rule.setting}": margin})
    fine = dict.fromkeys(decider.measures, 0.0) | ({rule.needs: 1.0} if rule.needs else {})
    worse = -1 if rule.fails == "below" else 1
    assert decider.decide({**fine, rule.measure: value + worse * (margin + 1)}) == ("failed", [rule.reason])
    assert decider.decide({**fine, rule.measure: value - worse * (margin + 1)}) == ("passed", [])
    assert decider.decide({**fine, rule.measure: value - worse * (margin - 0.5)})[0] == "unsure"


def test_what_passes_goes_on_where_it_is_asked_to() -> None:
    quiet = pcm(tone(-60, 1))
    assert Loudness(passes=False).judge(pcm(tone(-20, 1)), RATE, {})[0] == "unsure"
    assert Loudness(passes=False).judge(quiet, RATE, {})[:2] == ("failed", ["loudness_low"])

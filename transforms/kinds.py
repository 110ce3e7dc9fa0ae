"""The engines of this package as data: what each measures, which reasons it knows, and their thresholds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from typing import Any

from resplice.transforms.rules import ABOVE, BELOW, Kind, Rule
from resplice.transforms.settings import SignalThresholds

_SIGNAL = {f.name: f.default for f in fields(SignalThresholds)}
_OF_THE_MEASURE = ("clipped_level", "silence_gap_dbfs")

SIGNAL = Kind(
    "signal",
    (
        Rule("too_short", "duration_s", BELOW, "too_short_s"),
        Rule("too_long", "duration_s", ABOVE, "too_long_s"),
        Rule("silent", "peak_dbfs", BELOW, "silent_dbfs"),
        Rule("too_quiet", "rms_dbfs", BELOW, "too_quiet_dbfs"),
        Rule("clipped", "clipped_ratio", ABOVE, "clipped_ratio"),
        Rule("silence_gap", "longest_gap_s", ABOVE, "silence_gap_s"),
        Rule("rate_low", "chars_per_s", BELOW, "rate_low", "duration_s"),
        Rule("rate_high", "chars_per_s", ABOVE, "rate_high", "duration_s"),
        Rule("empty_text", "chars", BELOW, "empty_text_chars"),
    ),
    thresholds={name: value for name, value in _SIGNAL.items() if name not in _OF_THE_MEASURE},  # type: ignore[misc]
    measuring={name: _SIGNAL[name] for name in _OF_THE_MEASURE},
    goes_on=False,
)
"""Each reason stands for itself, so an empty text is `rate_low` (0 characters a second) besides `empty_text`."""

LOUDNESS = Kind(
    "loudness",
    (
        Rule("loudness_low", "loudness_lufs", BELOW, "loudness_low"),
        Rule("loudness_high", "loudness_lufs", ABOVE, "loudness_high"),
        Rule("true_peak_high", "true_peak_dbtp", ABOVE, "true_peak_high"),
    ),
    thresholds={"loudness_low": -45.0, "loudness_high": -6.0, "true_peak_high": 1.0},
)
VAD = Kind(
    "vad",
    (
        Rule("speech_low", "speech_ratio", BELOW, "speech_low"),
        Rule("pause_long", "longest_pause_s", ABOVE, "pause_long"),
        Rule("cut_start", "speech_lead_s", BELOW, "cut_start"),
        Rule("cut_end", "speech_tail_s", BELOW, "cut_end"),
    ),
    thresholds={"speech_low": 0.1, "pause_long": 3.0, "cut_start": 0.0, "cut_end": 0.0},
    measuring={"speech": 0.5},
    probabilities=("speech",),
)
"""`cut_start` and `cut_end` are seconds of no speech at the edges; 0 switches them off."""

SNR = Kind("snr", (Rule("snr_low", "snr_db", BELOW, "snr_low"),), thresholds={"snr_low": 5.0})

ASR = Kind(
    "asr",
    (
        Rule("wer_high", "wer", ABOVE, "wer_high"),
        Rule("cer_high", "cer", ABOVE, "cer_high"),
        Rule("cer_start_high", "cer_start", ABOVE, "cer_start_high"),
        Rule("cer_end_high", "cer_end", ABOVE, "cer_end_high"),
    ),
    thresholds={"wer_high": 0.7, "cer_high": 0.5, "cer_start_high": 0.3, "cer_end_high": 0.3},
    measuring={"kind": "", "quantization": ""},
    places={"model": "", "batch": 8},
)

KINDS = {kind.name: kind for kind in (SIGNAL, LOUDNESS, VAD, SNR, ASR)}


def deciding(engine: str, settings: Iterable[tuple[str, Any]]) -> tuple[tuple[str, Any], ...]:
    """Return the settings of an engine without those that change no result."""
    return tuple((key, value) for key, value in settings if engine not in KINDS or key not in KINDS[engine].places)

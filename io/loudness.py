"""The engine `loudness`: integrated loudness after ITU-R BS.1770-4, and the true peak at four times the rate."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyloudnorm
import soxr

from resplice.io.measuring import Measuring, full_scale
from resplice.transforms.kinds import LOUDNESS
from resplice.transforms.signal import FLOOR_DBFS, Measures, Samples

FLOOR_LUFS = -70.0
"""The absolute gate of BS.1770: below it nothing is loud."""
LOWEST_HZ = 4000
"""Below it the filter of BS.1770, whose shelf rises to 4 kHz, makes no sense: from 3 kHz down it is unstable."""
OVERSAMPLED = 4
_BLOCK_S, _HOP_S = 0.4, 0.1
_QUADRO = 4  # front left and right, back left and right
_CHUNK = 1 << 16  # frames resampled at a time


class Loudness(Measuring):
    """Measures of loudness; a channel alone counts as the left one. More than five channels are an error.

    `loudness_lufs` (LUFS, -70 and below are -70; None for less than 0.4 s, the block of BS.1770, and below 4 kHz) by
    pyloudnorm,
    `true_peak_dbtp` (dB below full scale of the true peak, -120 and below are -120) by soxr, as BS.1770 annex 2 has it.
    """

    kind = LOUDNESS
    revision = 3
    packages = ("pyloudnorm", "soxr")

    def measure(self, samples: Samples, rate: int, row: Mapping[str, Any]) -> Measures:
        """Measure one segment."""
        return {"loudness_lufs": integrated(samples, rate), "true_peak_dbtp": true_peak(samples, rate)}


def integrated(samples: Samples, rate: int) -> float | None:
    """Return the gated loudness in LUFS, at least -70; None if the segment is shorter than one block, or the rate too
    low for the filter. What is no number stays NaN, which no answer may hold: it is the engine's error.
    """
    if len(samples) < _BLOCK_S * rate or rate < LOWEST_HZ:
        return None
    level = _placed(_whole_blocks(samples, rate)) / full_scale(samples)
    loudness = float(pyloudnorm.Meter(rate).integrated_loudness(level))
    return loudness if math.isnan(loudness) else max(loudness, FLOOR_LUFS)


def _whole_blocks(samples: Samples, rate: int) -> Samples:
    """Return samples without the incomplete block at the end: BS.1770-4 leaves it out, pyloudnorm rounds."""
    block, hop = _BLOCK_S * rate, _HOP_S * rate
    further = math.floor((len(samples) - block) / hop + 1e-9)
    return samples[: math.ceil(block + further * hop - 1e-6)]


def _placed(samples: Samples) -> Samples:
    """Return channels in the order of pyloudnorm, whose third is the centre: the four of a FLAC have none."""
    return np.insert(samples, 2, 0, axis=1) if samples.shape[1] == _QUADRO else samples


def true_peak(samples: Samples, rate: int) -> float:
    """Return the highest level of any channel between the samples, in dBTP, at least -120."""
    peak, scale = 0.0, full_scale(samples)
    stream = soxr.ResampleStream(rate, OVERSAMPLED * rate, samples.shape[1], dtype="float32", quality="HQ")
    for begin in range(0, len(samples), _CHUNK):
        part = (samples[begin : begin + _CHUNK] / scale).astype(np.float32)
        made = stream.resample_chunk(part, last=begin + _CHUNK >= len(samples))
        peak = max(peak, float(np.abs(made).max(initial=0.0)), float(np.abs(part).max(initial=0.0)))
    return max(FLOOR_DBFS, 20 * math.log10(peak)) if peak > 0 else FLOOR_DBFS

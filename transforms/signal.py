"""Measures of one segment: levels, clipping, silence and text rate. Pure numpy; no thresholds are applied here."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.signedinteger[Any]]
Measures = dict[str, float | int | str | bool | None]

FLOOR_DBFS = -120.0
MEASURES = (
    "duration_s",
    "sample_rate",
    "channels",
    "peak_dbfs",
    "rms_dbfs",
    "clipped_ratio",
    "silence_ratio",
    "longest_gap_s",
    "chars",
    "chars_per_s",
    "words_per_s",
    "unique_word_ratio",
    "pcm_md5",
)
WHOLE = frozenset({"sample_rate", "channels", "chars"})
"""The measures that are whole numbers; the others are numbers, but for `pcm_md5`, a string."""
_BLOCK = 1 << 17  # values held as float64 at a time: 1 MB, whatever the length of the segment


def measure(
    samples: Samples,
    rate: int,
    text: str,
    *,
    gap_dbfs: float,
    clipped_level: float,
    md5: str,
) -> Measures:
    """Measure one segment; every value is finite, also for no frames and no text.

    Args:
        samples: signed integers, shape (frames, channels); a level is value / 2**(bits of the dtype - 1).
        rate: samples a second, Hz, > 0.
        text: the transcription; words are what stands between white space, compared without case.
        gap_dbfs: a 10 ms frame (rate // 100 samples, RMS over samples and channels) below it is silent.
        clipped_level: share of full scale in [0, 1] from which on a sample counts as clipped.
        md5: MD5 of the decoded PCM, in hex; stored as `pcm_md5`.

    Returns:
        The keys of `MEASURES`: seconds, Hz, absolute dBFS in [-120, 0], ratios in [0, 1], characters (without white
        space) and words a second. Ratios and rates of nothing (no frame, no sample, no word, no duration) are 0.

    Raises:
        ValueError: samples are not a two-dimensional array of signed integers, or `rate` is not positive.
    """
    if samples.ndim != 2 or samples.dtype.kind != "i" or rate <= 0:
        raise ValueError(f"signed integers (frames, channels) at a positive rate, not {samples.shape} at {rate} Hz")
    duration = len(samples) / rate
    levels = _levels(samples, rate, gap_dbfs, clipped_level)
    silent = np.concatenate(levels.silent) if levels.silent else np.zeros(0, dtype=np.bool_)
    return {
        "duration_s": duration,
        "sample_rate": rate,
        "channels": samples.shape[1],
        "peak_dbfs": dbfs(levels.peak),
        "rms_dbfs": dbfs(math.sqrt(_share(levels.energy, samples.size))),
        "clipped_ratio": _share(levels.clipped, samples.size),
        "silence_ratio": _share(int(np.count_nonzero(silent)), len(silent)),
        "longest_gap_s": longest_run(silent) * (rate // 100) / rate,
        **text_measures(text, duration),
        "pcm_md5": md5,
    }


def text_measures(text: str, duration_s: float) -> Measures:
    """Return `chars` (without white space), `chars_per_s`, `words_per_s` and `unique_word_ratio` of a text."""
    words = text.casefold().split()
    chars = sum(map(len, text.split()))
    return {
        "chars": chars,
        "chars_per_s": _share(chars, duration_s),
        "words_per_s": _share(len(words), duration_s),
        "unique_word_ratio": _share(len(set(words)), len(words)),
    }


def dbfs(level: float) -> float:
    """Return 20·log10(level) of an absolute level in [0, 1], not below -120."""
    return max(FLOOR_DBFS, 20 * math.log10(level)) if level > 0 else FLOOR_DBFS


def longest_run(flags: npt.NDArray[np.bool_]) -> int:
    """Return the length of the longest run of True in a one-dimensional array."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], flags, [False]))))
    return int((edges[1::2] - edges[::2]).max(initial=0))


@dataclass
class _Levels:
    """Sums over the blocks of a segment; peak and energy (sum of squares) are relative to full scale."""

    peak: float
    energy: float
    clipped: int
    silent: list[npt.NDArray[np.bool_]]


def _levels(samples: Samples, rate: int, gap_dbfs: float, clipped_level: float) -> _Levels:
    """Go through the samples in blocks of whole 10 ms frames."""
    frame, channels = rate // 100, max(samples.shape[1], 1)
    step = max(frame, 1) * max(_BLOCK // (max(frame, 1) * channels), 1)
    total = _Levels(0.0, 0.0, 0, [])
    for begin in range(0, len(samples) if samples.size else 0, step):
        level = samples[begin : begin + step] / 2.0 ** (samples.dtype.itemsize * 8 - 1)
        np.abs(level, out=level)
        total.peak = max(total.peak, float(level.max()))
        total.clipped += int(np.count_nonzero(level >= clipped_level))
        np.square(level, out=level)
        total.energy += float(level.sum())
        total.silent.append(_silent_frames(level, frame, gap_dbfs))
    return total


def _silent_frames(squares: npt.NDArray[np.float64], frame: int, gap_dbfs: float) -> npt.NDArray[np.bool_]:
    """Tell for each whole frame of (n, channels) squared levels whether its RMS is below `gap_dbfs`."""
    count = len(squares) // frame if frame else 0
    power = squares[: count * frame].reshape(count, -1).mean(axis=1) if count else np.zeros(0)
    quietest = 10 ** (FLOOR_DBFS / 10)
    result: npt.NDArray[np.bool_] = 10 * np.log10(np.maximum(power, quietest)) < gap_dbfs
    return result


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0

"""Measures to reasons: what only the segments of a video together show; `rules` has those of one segment."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from resplice.transforms.settings import SignalThresholds

REASONS = (
    "undecodable",
    "header_mismatch",
    "too_short",
    "too_long",
    "silent",
    "too_quiet",
    "clipped",
    "silence_gap",
    "rate_low",
    "rate_high",
    "empty_text",
    "duplicate_audio",
    "duration_outlier",
    "shifted_transcripts",
)
MIN_SEGMENTS = 8
MIN_SPREAD = 0.25  # standard deviation of log(duration)
MIN_CORRELATION = 0.75
MIN_LEAD = 0.25  # of the shifted over the unshifted correlation
ROUNDING = 1e-9  # relative: 0.1 / 1 and 0.3 / 3 are the same rate, and equal rates have no range

Measured = Mapping[str, Any]
Floats = npt.NDArray[np.float64]


VIDEO_REASONS = frozenset({"duplicate_audio", "duration_outlier", "shifted_transcripts"})
"""The reasons that only the neighbours of a segment show."""


def video_reasons(segments: Sequence[Measured | None], thresholds: SignalThresholds) -> list[list[str]]:
    """Return, for each segment of one video, the reasons that only its neighbours show.

    Args:
        segments: the measures of all segments in stem order; None (undecodable or not measured) takes no part in the
            sums, but gets `shifted_transcripts` with the rest, as every row of the video does.
        thresholds: `duration_outlier_iqr` is used.

    Returns:
        One list a segment, in the order given, each in the order of `REASONS`.
    """
    duplicates = _duplicates(segments)
    outliers = _outliers(segments, thresholds.duration_outlier_iqr)
    shifted = shifted_transcripts(segments)
    columns = (("duplicate_audio", duplicates), ("duration_outlier", outliers))
    return [
        [reason for reason, where in columns if j in where] + ["shifted_transcripts"] * shifted
        for j in range(len(segments))
    ]


def _duplicates(segments: Sequence[Measured | None]) -> set[int]:
    """Return the positions whose PCM stands at an earlier position too."""
    seen: set[str] = set()
    result: set[int] = set()
    for j, m in enumerate(segments):
        if m is None:
            continue
        if m["pcm_md5"] in seen:
            result.add(j)
        seen.add(m["pcm_md5"])
    return result


def _outliers(segments: Sequence[Measured | None], iqr: float) -> set[int]:
    """Return the positions whose seconds a character lie more than `iqr` interquartile ranges off the quartiles."""
    seconds = {j: m["duration_s"] / m["chars"] for j, m in enumerate(segments) if m is not None and m["chars"] >= 2}
    if len(seconds) < MIN_SEGMENTS:
        return set()
    q1, q3 = np.percentile(list(seconds.values()), [25, 75])
    reach = iqr * (q3 - q1) + ROUNDING * q3
    return {j for j, value in seconds.items() if not q1 - reach <= value <= q3 + reach}


def shifted_transcripts(segments: Sequence[Measured | None]) -> bool:
    """Tell whether the texts of a video fit their neighbours' durations better than their own.

    r_k is Pearson's correlation of log(chars) of segment j with log(duration) of segment j + k, over the segments with
    text (and with a duration: the logarithm needs one) in stem order. The standard deviation is the population's.
    """
    pairs = [(m["chars"], m["duration_s"]) for m in segments if m is not None and m["chars"] > 0 < m["duration_s"]]
    if len(pairs) < MIN_SEGMENTS:
        return False
    chars, seconds = np.log(np.array(pairs, dtype=np.float64)).T
    if seconds.std() < MIN_SPREAD:
        return False
    shifted = max(correlation(chars[1:], seconds[:-1]), correlation(chars[:-1], seconds[1:]))
    return shifted >= MIN_CORRELATION and shifted >= correlation(chars, seconds) + MIN_LEAD


def correlation(a: Floats, b: Floats) -> float:
    """Return Pearson's correlation of two equally long arrays, in [-1, 1]; 0 where one of them is constant."""
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0
    x, y = a - a.mean(), b - b.mean()
    norm = math.sqrt(x @ x) * math.sqrt(y @ y)
    return max(-1.0, min(float(x @ y) / norm, 1.0)) if norm else 0.0

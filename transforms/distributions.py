"""Distributions of the measures with the thresholds of the engine that judged them: mergeable counts in fixed bins."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from resplice.transforms.page import Histogram, Threshold
from resplice.transforms.settings import SignalThresholds

SERIES = ("passed", "failed", "error")
_FINE, _SHOWN = 1200, 40


@dataclass(frozen=True)
class Measure:
    """A measure as it is drawn: [low, high] is divided into fine bins; what lies beyond is counted apart."""

    column: str
    title: str
    unit: str
    low: float
    high: float
    thresholds: tuple[Threshold, ...]


def measures(t: SignalThresholds) -> list[Measure]:
    """Return the measures of the signal engine that have thresholds, wide enough to show these."""

    def below(*names: str) -> tuple[Threshold, ...]:
        return tuple(Threshold(name, getattr(t, name), "below") for name in names)

    def above(*names: str) -> tuple[Threshold, ...]:
        return tuple(Threshold(name, getattr(t, name), "above") for name in names)

    return [
        Measure("duration_s", "Duration", "seconds", 0.0, _wide(60.0, 2 * t.too_long_s),
                below("too_short_s") + above("too_long_s")),
        Measure("peak_dbfs", "Peak level", "dBFS", -120.0, 0.0, below("silent_dbfs")),
        Measure("rms_dbfs", "RMS level", "dBFS", -120.0, 0.0, below("too_quiet_dbfs")),
        Measure("clipped_ratio", "Clipped samples", "share", 0.0, min(1.0, _wide(0.01, 5 * t.clipped_ratio)),
                above("clipped_ratio")),
        Measure("longest_gap_s", "Longest gap", "seconds of silence", 0.0, _wide(12.0, 3 * t.silence_gap_s),
                above("silence_gap_s")),
        Measure("chars_per_s", "Rate of speech", "characters a second", 0.0, _wide(40.0, 2 * t.rate_high),
                below("rate_low") + above("rate_high")),
    ]  # fmt: skip


def _wide(least: float, wanted: float) -> float:
    """Return the wanted end of an axis, but not below `least`, and `least` for a threshold that is switched off."""
    return max(least, wanted) if math.isfinite(wanted) else least


@dataclass
class Counts:
    """The counts of one measure: a fine histogram a series, and what lies below and above."""

    measure: Measure
    fine: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    below: int = 0
    above: int = 0

    def add(self, series: str, values: NDArray[np.float64]) -> None:
        """Count values (any finite float64; NaN is left out) into a series."""
        values = values[np.isfinite(values)]
        low, high = self.measure.low, self.measure.high
        self.below += int((values < low).sum())
        self.above += int((values > high).sum())
        counts, _ = np.histogram(np.clip(values, low, high), _FINE, (low, high))
        self.fine[series] = self.fine.get(series, np.zeros(_FINE, np.int64)) + counts

    def histogram(self) -> Histogram | None:
        """Return the part of the axis that holds values or thresholds, in at most 40 bins; None without values."""
        total = sum(self.fine.values(), np.zeros(_FINE, np.int64))
        if not total.any():
            return None
        measure = self.measure
        width = (measure.high - measure.low) / _FINE
        inside = [t.value for t in measure.thresholds if measure.low <= t.value <= measure.high]
        held = [*map(int, np.flatnonzero(total)), *(int((value - measure.low) / width) for value in inside)]
        margin = (max(held) - min(held)) // 20 + 1  # so that the failing side of a threshold can be seen
        lowest, highest = max(min(held) - margin, 0), min(max(held) + margin, _FINE - 1)
        merge = max(1, math.ceil((highest + 1 - lowest) / _SHOWN))
        first = lowest // merge * merge
        bins = math.ceil((highest + 1 - first) / merge)
        last = min(first + bins * merge, _FINE)
        edges = [measure.low + width * index for index in [*range(first, last, merge), last]]
        return Histogram(
            measure.title,
            measure.unit,
            [round(edge, 6) for edge in edges],
            {name: _merged(self.fine[name][first:last], merge) for name in SERIES if name in self.fine},
            measure.thresholds,
            self.below,
            self.above,
        )


def _merged(fine: NDArray[np.int64], merge: int) -> list[int]:
    return [int(fine[start : start + merge].sum()) for start in range(0, len(fine), merge)]


def from_json(values: Mapping[str, object]) -> Histogram:
    """Return the histogram of a report document."""
    thresholds = [Threshold(**value) for value in values["thresholds"]]  # type: ignore[attr-defined]
    return Histogram(**{**values, "thresholds": thresholds})  # type: ignore[arg-type]

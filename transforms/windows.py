"""Which parts of a recording are embedded: `full`, `canonical` or `fixed:LEN/HOP`, always of the whole recording."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resplice.transforms.records import UserError

Samples = NDArray[np.float32]
FULL, CANONICAL, FIXED = "full", "canonical", "fixed"
LEAST_S = 0.1
"""Seconds of audio below which nothing is embedded."""
_FIXED = re.compile(r"fixed:(\d+(?:\.\d+)?)/(\d+(?:\.\d+)?)")
_SILENT = 1e-4
_SHORT_S, _LONG_S = 80.0, 140.0
_EDGE_S, _CORE_S, _LONG_CORE_S, _GAP_S = 10.0, 40.0, 60.0, 5.0
_DROPPED_S = 1.0


@dataclass(frozen=True)
class Windows:
    """A window setting; `first_s` cuts a recording to its first seconds beforehand (0: it is taken whole)."""

    kind: str = FULL
    length_s: float = 0.0
    hop_s: float = 0.0
    first_s: float = 0.0

    @classmethod
    def of(cls, text: str, first_s: float = 0.0) -> Windows:
        """Return the setting that a text names. UserError for any other text."""
        if text in (FULL, CANONICAL):
            return cls(text, first_s=first_s)
        match = _FIXED.fullmatch(text)
        length, hop = map(float, match.groups()) if match else (0.0, 0.0)
        if length < LEAST_S or hop < LEAST_S:
            raise UserError(
                f"embed.windows {text!r} is no window setting: give full, canonical, or fixed:LEN/HOP in seconds of at "
                f"least {LEAST_S:g}, e.g. fixed:10/5"
            )
        return cls(FIXED, length, hop, first_s)

    def __str__(self) -> str:
        """Return the setting as the identity of a vector has it."""
        fixed = f":{self.length_s:g}/{self.hop_s:g}" if self.kind == FIXED else ""
        return self.kind + fixed + (f" of the first {self.first_s:g} s" if self.first_s else "")

    @property
    def many(self) -> bool:
        """Return whether a recording has a row for each window, so that a row's key names the window's start."""
        return self.kind == FIXED


def cut(setting: Windows, samples: Samples, rate: int) -> list[list[tuple[int, int]]]:
    """Return the windows of a recording, as (start, end) in samples, grouped by row: a row's vector is the mean of its
    windows' vectors.

    `samples`: mono, shape (samples,), at `rate` Hz, at least one sample.
    """
    end = min(len(samples), round(setting.first_s * rate)) if setting.first_s else len(samples)
    if setting.kind == FULL:
        return [[(0, end)]]
    if setting.kind == CANONICAL:
        return [_canonical(samples[:end], rate)]
    return [[span] for span in _fixed(end, round(setting.length_s * rate), round(setting.hop_s * rate), rate)]


def _canonical(samples: Samples, rate: int) -> list[tuple[int, int]]:
    """Return 10 s from the first sound, the centred 60 s (40 s below 140 s), and 10 s that end 5 s before the end but
    begin at least 5 s after these; below 80 s the whole. Windows of a second or less are dropped.
    """
    end, seconds = len(samples), len(samples) / rate
    if seconds < _SHORT_S:
        return [(0, end)]
    loud = np.abs(samples) > _SILENT
    first = int(np.argmax(loud)) if loud.any() else 0
    core = round((_LONG_CORE_S if seconds >= _LONG_S else _CORE_S) * rate)
    middle, edge, gap = (end - core) // 2, round(_EDGE_S * rate), round(_GAP_S * rate)
    late = max(middle + core + gap, end - gap - edge)
    windows = [(first, min(first + edge, end)), (middle, middle + core), (late, min(late + edge, end - gap))]
    return [(start, stop) for start, stop in windows if stop - start > _DROPPED_S * rate]


def _fixed(end: int, length: int, hop: int, rate: int) -> list[tuple[int, int]]:
    """Return windows of one length; the last is shorter where the others leave a rest that is long enough."""
    count = max(0, (end - length) // hop + 1)
    spans = [(number * hop, number * hop + length) for number in range(count)]
    start = count * hop
    if not spans or (spans[-1][1] < end and end - start >= math.ceil(LEAST_S * rate)):
        spans.append((start, end))
    return spans


def row_key(key: str, start_s: float, many: bool) -> str:
    """Return the key of a row: that of its file or segment; with many windows `#` and where the window starts."""
    if not many:
        return key
    text = f"{start_s:.3f}".rstrip("0").rstrip(".")
    return f"{key}#{text}"


def mean(vectors: Sequence[Samples]) -> Samples:
    """Return the vector of a row from those of its windows: their mean, of length 1.

    Raises ValueError for a value that is not finite, and for a vector of zeros.
    """
    return unit(np.mean([vector.astype(np.float64) for vector in vectors], axis=0) if len(vectors) > 1 else vectors[0])


def unit(vector: NDArray[np.floating]) -> Samples:
    """Return a vector as float32 of length 1. Raises ValueError where it has none."""
    wide = np.asarray(vector, np.float64)
    if not np.isfinite(wide).all():
        raise ValueError("the vector holds a value that is not finite")
    norm = float(np.sqrt(np.sum(wide * wide)))
    if norm == 0.0:
        raise ValueError("the vector is all zeros")
    return (wide / norm).astype(np.float32)

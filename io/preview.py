"""A look at one segment: its waveform in a few hundred columns and its first seconds. Runs in a killable worker."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from resplice.io import audio


@dataclass(frozen=True)
class Preview:
    """What people see and hear of a segment.

    `seconds`: its length · `peaks`: (lowest, highest) sample a column, in [-1, 1] · `flac`: the first `clip_s` seconds
    as FLAC, mixed to one channel of 16 bits.
    """

    seconds: float
    peaks: tuple[tuple[float, float], ...]
    flac: bytes
    clip_s: float


def preview(flac: bytes, columns: int, clip_s: float, max_bytes: int) -> Preview:
    """Decode a FLAC and return its preview. Raises Damage as `resplice.io.audio.decode` does."""
    decoded = audio.decode(flac, max_bytes)
    full = float(np.iinfo(decoded.samples.dtype).max) + 1
    mono: NDArray[np.float32] = (decoded.samples.mean(axis=1) / full).astype(np.float32)
    clip = np.round(mono[: round(clip_s * decoded.rate)] * 32767).astype(np.int16).reshape(-1, 1)
    encoded = audio.encode(clip, decoded.rate, 16) if len(clip) else b""
    return Preview(len(mono) / decoded.rate, _peaks(mono, columns), encoded, len(clip) / decoded.rate)


def _peaks(mono: NDArray[np.float32], columns: int) -> tuple[tuple[float, float], ...]:
    """Return the extremes of equal stretches, at most `columns`."""
    bounds = np.linspace(0, len(mono), min(columns, len(mono)) + 1).astype(int)
    stretches = (mono[a:b] for a, b in pairwise(bounds))
    return tuple((round(float(s.min()), 3), round(float(s.max()), 3)) for s in stretches)

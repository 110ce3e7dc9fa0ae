"""The deterministic split: where a raw segment is cut, decided from its samples alone."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

__version__ = "1"

_BLOCK_FRAMES = 4096


def split(
    samples: NDArray[np.integer],
    rate: int,
    *,
    silence_dbfs: float = -40.0,
    pad_s: float = 0.1,
    max_segment_s: float = 15.0,
    min_silence_s: float = 0.3,
) -> list[tuple[int, int]]:
    """Return the pieces `[start, end)`, in samples, that a raw segment is cut into.

    samples: integers, shape (frames, channels), full scale = the dtype's range. rate: Hz.
    A 10 ms frame is loud if its RMS reaches `silence_dbfs`. Sound no longer than `max_segment_s` stays whole;
    longer sound is cut from the left, in the middle of the last long enough silence that keeps the piece within
    `max_segment_s`, or there if no silence does. Every piece keeps at most `pad_s` of silence around its sound.
    No sound at all: no piece. Raises ValueError if `max_segment_s` is less than one sample.
    """
    if round(max_segment_s * rate) < 1:
        raise ValueError(f"max_segment_s = {max_segment_s} is less than one sample at {rate} Hz")
    frame = rate // 100
    loud = np.flatnonzero(_loud(samples, frame, 10 ** (silence_dbfs / 20)))
    pad, longest, gap = (round(seconds * rate) for seconds in (pad_s, max_segment_s, min_silence_s))
    whole = _sound(loud, frame, 0, len(samples), pad)
    if whole is None:
        return []
    if whole[1] - whole[0] <= longest:
        return [whole]
    middles = _middles(loud, frame, gap)
    edges = [whole[0]]
    while whole[1] - edges[-1] > longest:
        edges.append(_cut(middles, edges[-1], longest))
    edges.append(whole[1])
    pieces = (_sound(loud, frame, a, b, pad) for a, b in itertools.pairwise(edges))
    return [piece for piece in pieces if piece is not None]


def _loud(samples: NDArray[np.integer], frame: int, level: float) -> NDArray[np.bool_]:
    """Return one flag a whole frame: RMS over its samples and channels >= level (of full scale)."""
    count = len(samples) // frame if frame else 0
    scale = 2.0 ** (np.iinfo(samples.dtype).bits - 1)
    loud = np.zeros(count, dtype=bool)
    for first in range(0, count, _BLOCK_FRAMES):
        last = min(first + _BLOCK_FRAMES, count)
        block = samples[first * frame : last * frame].astype(np.float64) / scale
        rms = np.sqrt(np.mean(np.square(block).reshape(last - first, -1), axis=1))
        loud[first:last] = rms >= level
    return loud


def _sound(loud: NDArray[np.intp], frame: int, a: int, b: int, pad: int) -> tuple[int, int] | None:
    """Return the padded extent of the loud frames that begin in [a, b), within [a, b); None without any."""
    first = np.searchsorted(loud * frame, a, side="left")
    last = np.searchsorted(loud * frame, b, side="left") - 1
    if last < first:
        return None
    return max(a, int(loud[first]) * frame - pad), min(b, (int(loud[last]) + 1) * frame + pad)


def _middles(loud: NDArray[np.intp], frame: int, gap: int) -> NDArray[np.intp]:
    """Return the middle sample of each stretch of non-loud frames between loud ones that is >= gap long."""
    first, end = loud[:-1] + 1, loud[1:]
    long_enough = ((end - first) * frame >= gap) & (end > first)
    return np.asarray((first + end)[long_enough] * frame // 2)


def _cut(middles: NDArray[np.intp], begin: int, longest: int) -> int:
    """Return the last middle in (begin, begin + longest], else begin + longest."""
    last = int(np.searchsorted(middles, begin + longest, side="right")) - 1
    if last >= 0 and middles[last] > begin:
        return int(middles[last])
    return begin + longest

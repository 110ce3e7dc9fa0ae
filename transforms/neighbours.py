"""`verdict.video_reasons` for all videos of a shard at once: columns in, columns out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from resplice.transforms.verdict import MIN_CORRELATION, MIN_LEAD, MIN_SEGMENTS, MIN_SPREAD, ROUNDING, correlation

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
_SLACK = 1e-6
"""How near to a limit sums over all videos are not trusted: such a video is looked at alone."""


def duplicates(video: Ints, digest: Ints, measured: Bools) -> Bools:
    """Return which rows have the audio of an earlier row of their video; `digest` numbers the digests."""
    where = np.flatnonzero(measured)
    keys = video[where] * (digest.max(initial=0) + 1) + digest[where]
    later = np.ones(len(where), np.bool_)
    later[np.unique(keys, return_index=True)[1]] = False
    found = np.zeros(len(video), np.bool_)
    found[where[later]] = True
    return found


def outliers(video: Ints, chars: Floats, seconds: Floats, measured: Bools, iqr: float) -> Bools:
    """Return which rows have seconds a character far off the quartiles of their video."""
    found = np.zeros(len(video), np.bool_)
    where = np.flatnonzero(measured & (chars >= 2))
    values = seconds[where] / chars[where]
    order = np.lexsort((values, video[where]))
    where, values = where[order], values[order]
    begin, count = _groups(video[where])
    begin, count = begin[count >= MIN_SEGMENTS], count[count >= MIN_SEGMENTS]
    if not len(begin):
        return found
    q1, q3 = (_quantile(values, begin, count, q) for q in (0.25, 0.75))
    reach = iqr * (q3 - q1) + ROUNDING * q3
    rows = np.repeat(begin - np.concatenate(([0], count.cumsum()[:-1])), count) + np.arange(count.sum())
    low, high = np.repeat(q1 - reach, count), np.repeat(q3 + reach, count)
    off = ~((low <= values[rows]) & (values[rows] <= high))
    found[where[rows[off]]] = True
    return found


def _quantile(values: Floats, begin: Ints, count: Ints, q: float) -> Floats:
    """Return a linear percentile of each group of ascending values, to the bit as numpy.percentile has it."""
    at = (count - 1) * q
    below = np.floor(at).astype(np.int64)
    weight = at - below
    a, b = values[begin + below], values[begin + np.minimum(below + 1, count - 1)]
    return np.asarray(np.where(weight >= 0.5, b - (b - a) * (1 - weight), a + (b - a) * weight))


def shifted(video: Ints, chars: Floats, seconds: Floats, measured: Bools) -> Bools:
    """Return which rows are of a video whose texts fit their neighbours' durations better than their own."""
    where = np.flatnonzero(measured & (chars > 0) & (seconds > 0))
    where = where[np.argsort(video[where], kind="stable")]
    begin, count = _groups(video[where])
    text, length = np.log(chars[where]), np.log(seconds[where])
    suspects = [
        number
        for number in _suspects(begin, count, text, length)
        if _is_shifted(text[begin[number] :][: count[number]], length[begin[number] :][: count[number]])
    ]
    return np.isin(video, video[where[begin[suspects]]]) if suspects else np.zeros(len(video), np.bool_)


def _is_shifted(text: Floats, length: Floats) -> bool:
    """Return what `verdict.shifted_transcripts` says of one video, from logarithms."""
    if len(text) < MIN_SEGMENTS or length.std() < MIN_SPREAD:
        return False
    lead = max(correlation(text[1:], length[:-1]), correlation(text[:-1], length[1:]))
    return lead >= MIN_CORRELATION and lead >= correlation(text, length) + MIN_LEAD


def _suspects(begin: Ints, count: Ints, text: Floats, length: Floats) -> Sequence[int]:
    """Return the numbers of the groups that may be shifted, by sums over all groups at once."""
    big = np.flatnonzero(count >= MIN_SEGMENTS)
    if not len(big):
        return []
    begin, count = begin[big], count[big]
    end = begin + count
    _, _, spread = _sums(begin, end, text, begin, end, length)
    own = _correlation(begin, end, text, begin, end, length)
    before = _correlation(begin + 1, end, text, begin, end - 1, length)
    after = _correlation(begin, end - 1, text, begin + 1, end, length)
    lead = np.maximum(before, after) + _SLACK
    near = (
        (np.sqrt(spread / count) >= MIN_SPREAD - _SLACK) & (lead >= MIN_CORRELATION) & (lead >= own + MIN_LEAD - _SLACK)
    )
    return [int(number) for number in big[near]]


def _sums(b0: Ints, e0: Ints, x: Floats, b1: Ints, e1: Ints, y: Floats) -> tuple[Floats, Floats, Floats]:
    """Return the sums of xy, x² and y² of each group, both taken from their mean; the groups are [begin, end)."""
    size = e0 - b0
    ix = np.repeat(b0 - np.concatenate(([0], size.cumsum()[:-1])), size) + np.arange(size.sum())
    iy = ix + np.repeat(b1 - b0, size)
    edges = np.concatenate(([0], size.cumsum()[:-1]))
    dx = x[ix] - np.repeat(np.add.reduceat(x[ix], edges) / size, size)
    dy = y[iy] - np.repeat(np.add.reduceat(y[iy], edges) / size, size)
    return tuple(np.add.reduceat(values, edges) for values in (dx * dy, dx * dx, dy * dy))  # type: ignore[return-value]


def _correlation(b0: Ints, e0: Ints, x: Floats, b1: Ints, e1: Ints, y: Floats) -> Floats:
    xy, xx, yy = _sums(b0, e0, x, b1, e1, y)
    norm = np.sqrt(xx * yy)
    return np.divide(xy, norm, out=np.zeros_like(xy), where=norm > 0)


def _groups(video: Ints) -> tuple[Ints, Ints]:
    """Return where each run of equal values begins, and how long it is."""
    begin = np.flatnonzero(np.concatenate(([True], video[1:] != video[:-1]))) if len(video) else np.zeros(0, np.int64)
    return begin, np.diff(np.concatenate((begin, [len(video)])))

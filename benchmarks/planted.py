"""The videos of a synthetic corpus: how many rows each has, how they are named, and what is wrong with it.

Everything follows from the number of videos and from the number of a video.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import IntEnum
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from resplice.transforms.names import read_row, stem

Numbers = npt.NDArray[np.int64]
ROWS = 100
"""Rows of a video, on average."""
MOST_ROWS = 1000
SPLITS = 3
"""Pieces of an original that is split."""
RATE = 16_000


class Style(IntEnum):
    """How the rows of a video are named."""

    PLAIN, BARE, SPLIT, BUG, ODD = range(5)


class Damage(IntEnum):
    """What is wrong with a video: its status is a failure, its tar is not there, lacks a JSON or has a member too many,
    or a row has no result.
    """

    NONE, STATUS, NO_TAR, NO_JSON, EXTRA, NO_RESULT = range(6)


class Plan:
    """The videos of a corpus."""

    def __init__(self, videos: int) -> None:
        rng = np.random.default_rng(videos)
        self.videos = videos
        self.counts = _counts(rng, videos)
        shares = {Style.PLAIN: 0.649, Style.BARE: 0.1, Style.SPLIT: 0.125, Style.BUG: 0.125, Style.ODD: 0.001}
        self.styles = rng.choice(list(shares), videos, p=list(shares.values()))
        numbers = np.arange(videos)
        self.damages = np.where(numbers % 100 == 7, numbers // 100 % 5 + 1, Damage.NONE)

    @cached_property
    def ids(self) -> pa.Array:
        """The ids of the videos, ascending; some have every letter that one may have."""
        rare = {3: ":b", 11: "@C", 19: ".d", 23: "-_E"}
        return pa.array([f"v{number:07d}{rare.get(number % 1000, '')}" for number in range(self.videos)], pa.string())

    def rows(self, numbers: Numbers) -> tuple[Numbers, Numbers]:
        """Return the video of each row of some videos, and its place in it."""
        counts = self.counts[numbers]
        ends = np.cumsum(counts)
        return np.repeat(numbers, counts), np.arange(ends[-1]) - np.repeat(ends - counts, counts)

    def names(self, of_row: Numbers, place: Numbers) -> pa.Array:
        """Return the names of rows as the database has them."""
        return _named([files for files, _, _ in _spellings()], self.styles[of_row], place)

    def stems(self, of_row: Numbers, place: Numbers) -> pa.Array:
        """Return the stems of rows."""
        return _named([stems for _, stems, _ in _spellings()], self.styles[of_row], place)

    def originals(self, numbers: Numbers) -> tuple[Numbers, pa.Array]:
        """Return how many FLACs the raw tar of each video has, and their stems."""
        split = np.isin(self.styles[numbers], (Style.SPLIT, Style.BUG))
        counts = np.where(split, -(-self.counts[numbers] // SPLITS), self.counts[numbers])
        ends = np.cumsum(counts)
        place = np.arange(ends[-1]) - np.repeat(ends - counts, counts)
        return counts, _named([raw for _, _, raw in _spellings()], np.repeat(self.styles[numbers], counts), place)


def _counts(rng: np.random.Generator, videos: int) -> Numbers:
    """Return how many rows each video has: 1 to 1,000, a hundred on average."""
    counts = np.clip(rng.lognormal(4.2, 0.9, videos).astype(np.int64), 1, MOST_ROWS)
    while missing := ROWS * videos - int(counts.sum()):
        some = rng.choice(videos, min(abs(missing), videos), replace=False)
        counts[some] = np.clip(counts[some] + np.sign(missing), 1, MOST_ROWS)
    return counts


def _spellings() -> Iterator[tuple[list[str], list[str], list[str]]]:
    """Yield what each style names its rows, their stems, and the FLACs of its raw tars, by their place in the video."""
    places = range(MOST_ROWS)
    plain = [f"{n:04d}" for n in places]
    split = [f"{n // SPLITS:04d}_split{n % SPLITS}" for n in places]
    odd = [f"Küche {n} – 100% \\'it''s\\' x.{n}.flac" for n in places]
    yield [f"{name}.flac" for name in plain], plain, plain
    yield plain, plain, plain
    yield [f"{name}.flac" for name in split], split, plain
    yield [name.replace("_split", ".flac_split") for name in split], split, plain
    yield odd, [stem(read_row(name, None)) for name in odd], [name.removesuffix(".flac") for name in odd]


def _named(lists: Sequence[Sequence[str]], styles: Numbers, place: Numbers) -> pa.Array:
    return pa.array([name for names in lists for name in names], pa.string()).take(pa.array(styles * MOST_ROWS + place))


def samples(of_row: Numbers, place: Numbers) -> Numbers:
    """Return how long the segment of each row is: half a second to twelve."""
    return RATE // 2 + (of_row * 7919 + place * 104_729) % (23 * RATE // 2)

"""The vocabulary of a report for people: titled sections of figures, bars, charts, listings and sounds.

Jobs say what they found in these words; `resplice.io.html` draws them. Charts carry plain numbers here, so that the
page can also show each of them as a table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

Tone = str
"""How a value is to be read: good, warn, bad, note or plain. Colour is never its only sign."""


@dataclass(frozen=True)
class Figure:
    """One number that matters, what it counts, and a remark."""

    value: str
    label: str
    note: str = ""
    tone: Tone = "plain"


@dataclass(frozen=True)
class Figures:
    """Some figures side by side."""

    items: Sequence[Figure]
    kind: ClassVar[str] = "figures"


@dataclass(frozen=True)
class Bar:
    """One labelled count of a `Bars`."""

    label: str
    count: float
    text: str
    tone: Tone = "plain"


@dataclass(frozen=True)
class Bars:
    """Counts under one title, drawn against the largest of them, or against `total`."""

    title: str
    rows: Sequence[Bar]
    columns: tuple[str, str] = ("reason", "count")
    total: float = 0.0
    note: str = ""
    kind: ClassVar[str] = "bars"

    @property
    def largest(self) -> float:
        """Return the count that fills the width."""
        return self.total or max((row.count for row in self.rows), default=0.0) or 1.0


@dataclass(frozen=True)
class Change:
    """One count before and after, of the same total."""

    label: str
    before: int
    after: int
    total: int


@dataclass(frozen=True)
class Changes:
    """Counts before and after the run."""

    title: str
    rows: Sequence[Change]
    note: str = ""
    kind: ClassVar[str] = "changes"


@dataclass(frozen=True)
class Node:
    """One group of a `Flow`: all units in column `column` (0 = left) that are called `label`."""

    id: str
    column: int
    label: str
    tone: Tone = "plain"


@dataclass(frozen=True)
class Flow:
    """How units divide from column to column: `links` are (id, id, count)."""

    title: str
    unit: str
    nodes: Sequence[Node]
    links: Sequence[tuple[str, str, int]]
    kind: ClassVar[str] = "flow"


@dataclass(frozen=True)
class Threshold:
    """A value at which a verdict changes; `fails` tells which side of it fails: "below" or "above"."""

    name: str
    value: float
    fails: str


@dataclass(frozen=True)
class Histogram:
    """The distribution of one measure: `edges` are one more than the counts; the outer bins hold what lies beyond.

    `counts` maps the name of a series to its count a bin; series are stacked in order.
    """

    title: str
    unit: str
    edges: Sequence[float]
    counts: dict[str, Sequence[int]]
    thresholds: Sequence[Threshold] = ()
    below: int = 0
    above: int = 0
    kind: ClassVar[str] = "histogram"


@dataclass(frozen=True)
class Curves:
    """Shares in [0, 1] along an axis: each of `lines` is (x, share), ascending; `thresholds` lie on the axis."""

    title: str
    unit: str
    lines: Mapping[str, Sequence[tuple[float, float]]]
    thresholds: Sequence[Threshold] = ()
    kind: ClassVar[str] = "curves"


@dataclass(frozen=True)
class Listing:
    """Rows that people search; `total` may be more than the rows that are here, and `where` says where all are."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    total: int
    where: str
    what: str = "rows"
    kind: ClassVar[str] = "listing"


@dataclass(frozen=True)
class Sound:
    """A few seconds to listen to: `flac` bytes, what they are, how long they and their whole are (seconds)."""

    label: str
    flac: bytes
    seconds: float
    whole_s: float
    text: str = ""


@dataclass(frozen=True)
class Track:
    """One waveform on the time axis of its `Listening`.

    `peaks`: (lowest, highest) sample a column in [-1, 1], equally spaced from `start_s` to `end_s`.
    """

    label: str
    start_s: float
    end_s: float
    peaks: Sequence[tuple[float, float]]
    sound: Sound | None = None
    text: str = ""


@dataclass(frozen=True)
class Listening:
    """One original before and after: waveforms over the same `seconds`, cut at `cuts` (seconds)."""

    title: str
    seconds: float
    before: Sequence[Track]
    after: Sequence[Track]
    cuts: Sequence[float] = ()
    before_note: str = ""
    after_note: str = ""
    kind: ClassVar[str] = "listening"


@dataclass(frozen=True)
class Point:
    """One item of a `Scatter`; `mark` is a short text beside it, "" for none."""

    x: float
    y: float
    label: str
    mark: str = ""


@dataclass(frozen=True)
class Scatter:
    """Items in a plane; `axes` say what its directions are."""

    title: str
    points: Sequence[Point]
    axes: tuple[str, str]
    note: str = ""
    kind: ClassVar[str] = "scatter"


@dataclass(frozen=True)
class Heard:
    """One item to listen to, if its sound could be had; `score` is how near it is, "" for the item itself."""

    label: str
    score: str
    sound: Sound | None


@dataclass(frozen=True)
class Neighbours:
    """An item, marked in a `Scatter`, and those nearest to it."""

    mark: str
    item: Heard
    others: Sequence[Heard]
    kind: ClassVar[str] = "neighbours"


Block = Figures | Bars | Changes | Flow | Histogram | Curves | Listing | Listening | Scatter | Neighbours


@dataclass(frozen=True)
class Section:
    """A titled part of a page. Histograms that follow one another stand side by side."""

    id: str
    title: str
    text: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Page:
    """A whole report: its title, a sentence that says how it ended, facts about it, and its sections."""

    title: str
    verdict: str
    tone: Tone
    facts: Sequence[tuple[str, str]]
    sections: Sequence[Section]

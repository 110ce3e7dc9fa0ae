"""Where the marks of a chart stand, in the units of its SVG: numbers in, coordinates out."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from resplice.transforms.page import Curves, Flow, Histogram, Node, Point, Scatter, Threshold, Track

FLOW_WIDTH, FLOW_LABEL, NODE_WIDTH = 960.0, 250.0, 14.0
_FLOW_GAP, _FLOW_LEAST, _FLOW_SCALE = 26.0, 3.0, 240.0

PLOT_WIDTH, PLOT_HEIGHT = 350.0, 180.0
PLOT_LEFT, PLOT_TOP, PLOT_BOTTOM = 44.0, 34.0, 30.0

WAVE_WIDTH, WAVE_HEIGHT = 960.0, 72.0

SCATTER_WIDTH, SCATTER_HEIGHT = 960.0, 460.0
_MARGIN = 28.0


@dataclass(frozen=True)
class Box:
    """A node of a flow: its rectangle, and how many units it holds."""

    node: Node
    x: float
    y: float
    height: float
    count: int


@dataclass(frozen=True)
class Ribbon:
    """A link of a flow: the path between two nodes."""

    path: str
    count: int
    source: Node
    target: Node


@dataclass(frozen=True)
class FlowChart:
    """A flow as drawn: its height, and its marks."""

    height: float
    boxes: list[Box]
    ribbons: list[Ribbon]


def flow(chart: Flow) -> FlowChart:
    """Lay out a flow: a node is as high as its units are many (but can always be seen), nodes of a column lie below
    one another in the order given, and so do the ribbons of a node.
    """
    counts = {node.id: _through(chart, node) for node in chart.nodes}
    scale = _FLOW_SCALE / max(counts.values(), default=1) if any(counts.values()) else 0.0
    columns = sorted({node.column for node in chart.nodes})
    step = (FLOW_WIDTH - FLOW_LABEL - NODE_WIDTH) / max(len(columns) - 1, 1)
    boxes: dict[str, Box] = {}
    lowest = 0.0
    for column in columns:
        y = 4.0
        for node in (node for node in chart.nodes if node.column == column and counts[node.id]):
            height = max(_FLOW_LEAST, counts[node.id] * scale)
            boxes[node.id] = Box(node, columns.index(column) * step, y, height, counts[node.id])
            y += max(height, 12.0) + _FLOW_GAP
        lowest = max(lowest, y)
    return FlowChart(lowest, list(boxes.values()), _ribbons(chart, boxes, scale))


def _through(chart: Flow, node: Node) -> int:
    out = sum(count for source, _, count in chart.links if source == node.id)
    into = sum(count for _, target, count in chart.links if target == node.id)
    return max(out, into)


def _ribbons(chart: Flow, boxes: dict[str, Box], scale: float) -> list[Ribbon]:
    left = dict.fromkeys(boxes, 0.0)
    right = dict.fromkeys(boxes, 0.0)
    found = []
    for source, target, count in chart.links:
        if not count:
            continue
        a, b, height = boxes[source], boxes[target], max(1.0, count * scale)
        y0, y1 = a.y + right[source], b.y + left[target]
        right[source] += count * scale
        left[target] += count * scale
        x0, x1 = a.x + NODE_WIDTH, b.x
        middle = (x0 + x1) / 2
        path = (
            f"M{x0:.1f} {y0:.1f}C{middle:.1f} {y0:.1f} {middle:.1f} {y1:.1f} {x1:.1f} {y1:.1f}"
            f"v{height:.1f}C{middle:.1f} {y1 + height:.1f} {middle:.1f} {y0 + height:.1f} {x0:.1f} {y0 + height:.1f}z"
        )
        found.append(Ribbon(path, count, a.node, b.node))
    return found


@dataclass(frozen=True)
class Rect:
    """One bar of a histogram."""

    series: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Mark:
    """A labelled position on an axis; `anchor` is the text-anchor of its label, `row` its line of text."""

    at: float
    label: str
    anchor: str = "middle"
    row: int = 0


@dataclass(frozen=True)
class Plot:
    """A histogram as drawn: bars, ticks of both axes, thresholds, and the area on the failing side of each."""

    bars: list[Rect]
    x_ticks: list[Mark]
    y_ticks: list[Mark]
    thresholds: list[Mark]
    failing: list[tuple[float, float]]


def histogram(chart: Histogram) -> Plot:
    """Lay out a histogram in a plot of PLOT_WIDTH x PLOT_HEIGHT: the counts grow upwards from 0, linearly."""
    left, right = PLOT_LEFT, PLOT_WIDTH - 10.0
    low, high = chart.edges[0], chart.edges[-1]
    tallest = max((sum(bin_) for bin_ in zip(*chart.counts.values(), strict=True)), default=0)
    floor, room = PLOT_HEIGHT - PLOT_BOTTOM, PLOT_HEIGHT - PLOT_BOTTOM - PLOT_TOP

    def x_of(value: float) -> float:
        return left + (right - left) * (value - low) / ((high - low) or 1.0)

    bars = []
    for index in range(len(chart.edges) - 1):
        x0, x1 = x_of(chart.edges[index]), x_of(chart.edges[index + 1])
        y = floor
        for series, counts in chart.counts.items():
            if counts[index]:
                height = max(1.0, room * counts[index] / tallest)
                y -= height
                bars.append(Rect(series, x0, y, max(0.5, x1 - x0 - 1), height))
    shown = [threshold for threshold in chart.thresholds if low <= threshold.value <= high]
    marks = _marks(shown, x_of)
    return Plot(
        bars,
        [Mark(x_of(value), f"{value:g}") for value in ticks(low, high, 6)],
        [Mark(floor - room * value / tallest, f"{value:,.0f}", "end") for value in whole_ticks(tallest)],
        marks,
        [(left, x_of(t.value)) if t.fails == "below" else (x_of(t.value), right) for t in shown],
    )


def _marks(shown: Sequence[Threshold], x_of: Callable[[float], float]) -> list[Mark]:
    """Return the labelled lines of thresholds; neighbours stand in two rows."""
    marks = []
    for row, threshold in enumerate(sorted(shown, key=lambda threshold: threshold.value)):
        at = x_of(threshold.value)
        anchor = "start" if at < (PLOT_LEFT + PLOT_WIDTH - 10.0) / 2 else "end"
        marks.append(Mark(at, f"{threshold.name} {threshold.value:g}", anchor, row % 2))
    return marks


@dataclass(frozen=True)
class CurvePlot:
    """Curves as drawn: the path of each, ticks of both axes, and thresholds."""

    paths: dict[str, str]
    x_ticks: list[Mark]
    y_ticks: list[Mark]
    thresholds: list[Mark]


def curves(chart: Curves) -> CurvePlot:
    """Lay out curves in a plot of PLOT_WIDTH x PLOT_HEIGHT: shares from 0 to 1 upwards, thresholds on the axis."""
    left, right, floor = PLOT_LEFT, PLOT_WIDTH - 10.0, PLOT_HEIGHT - PLOT_BOTTOM
    along = [x for line in chart.lines.values() for x, _ in line] + [t.value for t in chart.thresholds]
    low, high = min(along, default=0.0), max(along, default=1.0)

    def x_of(value: float) -> float:
        return left + (right - left) * (value - low) / ((high - low) or 1.0)

    def y_of(share: float) -> float:
        return floor - (floor - PLOT_TOP) * share

    paths = {
        name: "M" + "L".join(f"{x_of(x):.1f} {y_of(share):.1f}" for x, share in line)
        for name, line in chart.lines.items()
        if line
    }
    return CurvePlot(
        paths,
        [Mark(x_of(value), f"{value:g}") for value in ticks(low, high, 6)],
        [Mark(y_of(share), f"{share:g}", "end") for share in (0.0, 0.5, 1.0)],
        _marks(chart.thresholds, x_of),
    )


@dataclass(frozen=True)
class Dot:
    """A point of a scatter as drawn."""

    x: float
    y: float
    point: Point


def scatter(chart: Scatter) -> list[Dot]:
    """Lay out a scatter in SCATTER_WIDTH x SCATTER_HEIGHT, both axes on one scale; marked points come last, on top."""
    left, low = (min((getattr(p, axis) for p in chart.points), default=0.0) for axis in ("x", "y"))
    right, high = (max((getattr(p, axis) for p in chart.points), default=0.0) for axis in ("x", "y"))
    wide, tall = SCATTER_WIDTH - 2 * _MARGIN, SCATTER_HEIGHT - 2 * _MARGIN
    scale = min(wide / ((right - left) or 1.0), tall / ((high - low) or 1.0))

    def dot(point: Point) -> Dot:
        x, y = point.x - (left + right) / 2, point.y - (low + high) / 2
        return Dot(SCATTER_WIDTH / 2 + scale * x, SCATTER_HEIGHT / 2 - scale * y, point)

    dots = [dot(point) for point in chart.points]
    return sorted(dots, key=lambda dot: bool(dot.point.mark))


def ticks(low: float, high: float, most: int) -> list[float]:
    """Return at most about `most` round numbers from `low` to `high`: multiples of 1, 2 or 5 times a power of ten."""
    if not high > low:
        return [low]
    step = 10.0 ** math.floor(math.log10((high - low) / most))
    step = next(step * factor for factor in (1, 2, 5, 10, 20) if (high - low) / (step * factor) <= most)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, 10) for number in range(first, last + 1)]


def whole_ticks(highest: int) -> list[int]:
    """Return a few whole numbers from 0 to `highest`."""
    return sorted({int(value) for value in ticks(0, highest, 4) if float(value).is_integer()}) if highest else [0]


def wave(track: Track, seconds: float) -> str:
    """Return the path of a waveform: its upper edge to the right, its lower one back."""
    if not track.peaks or seconds <= 0:
        return ""
    x0, x1 = (WAVE_WIDTH * time / seconds for time in (track.start_s, track.end_s))
    step, middle, half = (x1 - x0) / len(track.peaks), WAVE_HEIGHT / 2, WAVE_HEIGHT / 2 - 3
    upper = [(x0 + (i + 0.5) * step, middle - max(high * half, 0.4)) for i, (_, high) in enumerate(track.peaks)]
    lower = [(x0 + (i + 0.5) * step, middle - min(low * half, -0.4)) for i, (low, _) in enumerate(track.peaks)]
    return _polygon([*upper, *reversed(lower)])


def _polygon(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points) + "z"


def x_at(second: float, seconds: float) -> float:
    """Return where a moment lies on the time axis of a waveform."""
    return WAVE_WIDTH * second / seconds if seconds > 0 else 0.0

"""Where the marks of charts stand, and what distributions count."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resplice.transforms import charts
from resplice.transforms.distributions import Counts, Measure, measures
from resplice.transforms.page import Curves, Flow, Histogram, Node, Threshold, Track
from resplice.transforms.settings import SignalThresholds

COUNTS = st.lists(st.integers(0, 10**9), min_size=3, max_size=3)


@given(COUNTS)
def test_a_flow_keeps_its_marks_apart_and_inside(counts: list[int]) -> None:
    nodes = [Node("a", 0, "all"), *(Node(str(index), 1, "part") for index in range(3))]
    chart = charts.flow(Flow("t", "rows", nodes, [("a", str(index), count) for index, count in enumerate(counts)]))
    assert sum(ribbon.count for ribbon in chart.ribbons) == sum(counts)
    assert len(chart.boxes) == (1 + sum(count > 0 for count in counts) if any(counts) else 0)
    right = sorted((box.y, box.y + box.height) for box in chart.boxes if box.x)
    assert all(end + 12 <= start for (_, end), (start, _) in pairwise(right))
    assert all(box.y >= 0 and box.y + box.height <= chart.height and box.height >= 3 for box in chart.boxes)
    assert all(0 <= box.x <= charts.FLOW_WIDTH - charts.FLOW_LABEL for box in chart.boxes)


@given(st.floats(-1e6, 1e6), st.floats(0.001, 1e6), st.integers(2, 10))
def test_ticks_are_round_few_and_inside(low: float, width: float, most: int) -> None:
    found = charts.ticks(low, low + width, most)
    assert len(found) <= most + 1
    slack = 1e-6 * max(1.0, abs(low), width)
    assert all(low - slack <= tick <= low + width + slack for tick in found)


TICKS = [
    (0, 30, [0, 5, 10, 15, 20, 25, 30]),
    (-120, 0, [-120, -100, -80, -60, -40, -20, 0]),
    (0, 0.05, [0, 0.01, 0.02, 0.03, 0.04, 0.05]),
    (3, 3, [3]),
]


@pytest.mark.parametrize(("low", "high", "ticks"), TICKS)
def test_ticks_as_people_expect_them(low: float, high: float, ticks: list[float]) -> None:
    assert charts.ticks(low, high, 6) == ticks


def test_whole_ticks_never_divide_a_count() -> None:
    assert charts.whole_ticks(0) == [0]
    assert charts.whole_ticks(1) == [0, 1]
    assert charts.whole_ticks(200) == [0, 50, 100, 150, 200]


def test_a_histogram_stacks_its_series_below_the_top_and_marks_the_failing_side() -> None:
    chart = Histogram("t", "s", [0, 1, 2], {"passed": [3, 0], "failed": [1, 2]}, [Threshold("low", 0.5, "below")])
    plot = charts.histogram(chart)
    first = [bar for bar in plot.bars if bar.x == plot.bars[0].x]
    assert [bar.series for bar in first] == ["passed", "failed"]
    assert first[1].y + first[1].height == pytest.approx(first[0].y)
    assert first[1].y == pytest.approx(charts.PLOT_TOP)
    (x0, x1), at = plot.failing[0], plot.thresholds[0].at
    assert x0 < x1 == pytest.approx(at)


def test_a_wave_lies_on_its_stretch_of_the_time_axis() -> None:
    path = charts.wave(Track("t", 1.0, 3.0, [(-1.0, 1.0), (-0.5, 0.25)]), 4.0)
    xs = [float(point.split()[0]) for point in path.strip("Mz").split("L")]
    assert min(xs) == charts.WAVE_WIDTH * 1.5 / 4
    assert max(xs) == charts.WAVE_WIDTH * 2.5 / 4


MEASURE = Measure(
    "m", "M", "s", 0.0, 60.0, (Threshold("too_short_s", 0.3, "below"), Threshold("too_long_s", 30, "above"))
)


@given(st.lists(st.floats(-100, 1000) | st.just(float("nan")), max_size=50), st.integers(0, 50))
def test_a_distribution_counts_every_value_once_in_any_parts(values: list[float], cut: int) -> None:
    whole, parts = Counts(MEASURE), Counts(MEASURE)
    whole.add("passed", np.array(values))
    parts.add("passed", np.array(values[:cut]))
    parts.add("passed", np.array(values[cut:]))
    drawn = whole.histogram()
    assert drawn == parts.histogram()
    finite = [value for value in values if np.isfinite(value)]
    assert (drawn is None) == (not finite)
    if drawn:
        assert sum(drawn.counts["passed"]) == len(finite)
        assert len(drawn.counts["passed"]) == len(drawn.edges) - 1 <= 42
        assert drawn.edges[0] <= 0.3
        assert drawn.edges[-1] >= 30
        assert (drawn.below, drawn.above) == (sum(v < 0 for v in finite), sum(v > 60 for v in finite))


def test_thresholds_that_switch_a_reason_off_can_be_drawn() -> None:
    off = SignalThresholds(too_short_s=0, silent_dbfs=-1000, clipped_ratio=0, rate_high=float("inf"), silence_gap_s=0)
    for measure in measures(off):
        counts = Counts(measure)
        counts.add("passed", np.array([measure.low]))
        drawn = counts.histogram()
        assert drawn is not None
        assert charts.histogram(drawn).bars


@given(st.floats(0.1, 50), st.floats(0.5, 500))
def test_every_threshold_in_force_can_be_drawn(short: float, long: float) -> None:
    for measure in measures(SignalThresholds(too_short_s=short, too_long_s=long, silence_gap_s=long, rate_high=long)):
        counts = Counts(measure)
        counts.add("passed", np.array([measure.low]))
        drawn = counts.histogram()
        assert drawn is not None
        assert len(charts.histogram(drawn).thresholds) == len(measure.thresholds)


def test_curves_run_from_left_to_right_and_from_0_to_1_upwards_and_hold_their_thresholds() -> None:
    lines = {"precision": [(1.0, 1.0), (2.0, 0.5), (3.0, 0.0)], "recall": []}
    drawn = charts.curves(Curves("rate_low", "signal", lines, [Threshold("now", 5.0, "below")]))
    points = [tuple(map(float, point.split())) for point in drawn.paths["precision"][1:].split("L")]
    floor, left, right = charts.PLOT_HEIGHT - charts.PLOT_BOTTOM, charts.PLOT_LEFT, charts.PLOT_WIDTH - 10
    assert [y for _, y in points] == [charts.PLOT_TOP, (charts.PLOT_TOP + floor) / 2, floor]
    assert [x for x, _ in points] == [left, left + (right - left) / 4, left + (right - left) / 2]
    assert drawn.thresholds == [charts.Mark(right, "now 5", "end", 0)] and set(drawn.paths) == {"precision"}

"""How well reasons tell bad segments from good ones, and which thresholds would do better: labels against measures.

A segment is flagged by a reason if its rule holds. Precision is the share of the flagged that are labelled bad,
whatever for; recall is the share of the bad of this reason (and of those without a reason) that are flagged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from resplice.transforms.rules import BELOW, Decider, Rule
from resplice.transforms.verdict import REASONS

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
POINTS = 200
"""Points of a curve, at most."""


@dataclass(frozen=True)
class Labelled:
    """Segments with labels, in one order: their measures (NaN where missing), whether they are bad, and why ("" = not
    known), whether they failed as judged, and the reasons that they have.
    """

    measures: Mapping[str, Floats]
    bad: Bools
    why: Sequence[str]
    failed: Bools
    reasons: Sequence[Sequence[str]]

    def targets(self, reason: str) -> Bools:
        """Return the bad ones that a reason should flag."""
        return np.array([bad and why in ("", reason) for bad, why in zip(self.bad, self.why, strict=True)], np.bool_)


@dataclass(frozen=True)
class Point:
    """What a threshold does: how many it flags, its precision (None: it flags none) and recall (None: no target)."""

    threshold: float
    flagged: int
    precision: float | None
    recall: float | None


def share(flagged: Bools, bad: Bools, targets: Bools, threshold: float) -> Point:
    """Return what flagging these segments is worth."""
    count, wanted = int(flagged.sum()), int(targets.sum())
    precision = int((flagged & bad).sum()) / count if count else None
    return Point(threshold, count, precision, int((flagged & targets).sum()) / wanted if wanted else None)


def of_rule(rule: Rule, decider: Decider, labelled: Labelled, wanted: float) -> dict[str, Any]:
    """Return what a rule does to labelled segments: now, at the threshold that flags most at the wanted precision (None
    if there is none), and along the whole range of its measure.
    """
    targets, now = labelled.targets(rule.reason), decider.thresholds[rule.setting]
    points = curve(rule, labelled, targets)
    enough = [point for point in points if point.precision is not None and point.precision >= wanted]
    best = max(enough, key=lambda point: point.flagged, default=None)
    return {
        "reason": rule.reason,
        "setting": rule.setting,
        "measure": rule.measure,
        "fails": rule.fails,
        "measured": int(np.isfinite(_values(rule, labelled)).sum()),
        "targets": int(targets.sum()),
        "now": asdict(share(np.asarray(rule.holds(labelled.measures, now)), labelled.bad, targets, now)),
        "suggested": asdict(best) if best else None,
        "curve": [asdict(point) for point in _thinned(points, best)],
    }


def curve(rule: Rule, labelled: Labelled, targets: Bools) -> list[Point]:
    """Return what each threshold does that lies between two values of the measure, from the strictest to the laxest."""
    values = _values(rule, labelled)
    known = np.isfinite(values)
    sign = 1.0 if rule.fails == BELOW else -1.0
    order = np.argsort(sign * values[known], kind="stable")
    ranked = (sign * values[known])[order]
    last = np.flatnonzero(np.concatenate((ranked[1:] > ranked[:-1], [True]))) if len(ranked) else np.zeros(0, np.int64)
    bad, wanted = (flags[known][order].cumsum() for flags in (labelled.bad, targets))
    total = int(targets.sum())
    return [
        Point(sign * _between(ranked, at), at + 1, int(bad[at]) / (at + 1), int(wanted[at]) / total if total else None)
        for at in map(int, last)
    ]


def _values(rule: Rule, labelled: Labelled) -> Floats:
    """Return the measure of a rule, NaN where there is nothing to compare."""
    values = labelled.measures[rule.measure]
    return np.where(labelled.measures[rule.needs] > 0, values, np.nan) if rule.needs else values


def _between(ranked: Floats, at: int) -> float:
    """Return a short number above one of ascending values and at most the next one that differs."""
    low = float(ranked[at])
    high = float(ranked[at + 1]) if at + 1 < len(ranked) else low + max(1e-6, abs(low) * 1e-3)
    middle = (low + high) / 2
    short = (float(f"{middle:.{digits}g}") for digits in range(2, 17))
    return next((value for value in short if low < value <= high), high)


def _thinned(points: Sequence[Point], best: Point | None) -> list[Point]:
    step = max(1, -(-len(points) // POINTS))
    return [point for number, point in enumerate(points) if number % step == 0 or point == best]


def calibrated(chain: Sequence[tuple[str, Decider]], labelled: Labelled, wanted: float) -> dict[str, Any]:
    """Return the calibration of a chain: the stored verdicts as a whole, each of its rules whose measure is known, and
    the stored reasons that are none of these.
    """
    whole = share(labelled.failed, labelled.bad, labelled.bad, 0.0)
    rules = [
        {"engine": name, **of_rule(rule, decider, labelled, wanted)}
        for name, decider in chain
        for rule in decider.rules
        if np.isfinite(labelled.measures[rule.measure]).any()
    ]
    ruled = {rule["reason"] for rule in rules}
    return {
        "labelled": len(labelled.bad),
        "bad": int(labelled.bad.sum()),
        "wanted_precision": wanted,
        "verdict": {key: value for key, value in asdict(whole).items() if key != "threshold"},
        "rules": rules,
        "stored": [_stored(reason, labelled) for reason in _further(labelled) if reason not in ruled],
    }


def _further(labelled: Labelled) -> list[str]:
    """Return the reasons that segments have or that labels name, if an engine knows them, sorted."""
    known = {reason for reasons in labelled.reasons for reason in reasons}
    return sorted(known | (set(labelled.why) & set(REASONS)))


def _stored(reason: str, labelled: Labelled) -> dict[str, Any]:
    """Return what a reason is worth as it was judged: no threshold over one measure decides it."""
    flagged = np.array([reason in reasons for reasons in labelled.reasons], np.bool_)
    point = asdict(share(flagged, labelled.bad, labelled.targets(reason), 0.0))
    return {"reason": reason, **{key: value for key, value in point.items() if key != "threshold"}}

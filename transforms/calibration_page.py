"""The section of a report about its calibration: precision and recall of each reason by its threshold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from resplice.transforms.page import Block, Curves, Listing, Section, Threshold

AS_JUDGED = "as judged"
_TEXT = (
    "Labelled segments against what the engines measured. Precision: of the segments that a threshold fails, the share "
    "that is labelled bad. Recall: of the bad ones, the share that it fails. Dashed lines are the threshold in force "
    "and the one that fails most at the wanted precision. Lines as judged are of the stored verdicts, whatever the "
    "thresholds in force now; no threshold over one measure could be suggested there."
)
FORMER = " The run was judged again since: all of this is of former verdicts and thresholds until `calibrate` runs."


def section(facts: Mapping[str, Any] | None) -> Section:
    """Return the section; it is empty without a calibration."""
    if not facts:
        return Section("calibration", "", "", [])
    blocks: list[Block] = [_listing(facts)]
    blocks += [_curves(rule, facts["wanted_precision"]) for rule in facts["rules"] if _tells(rule)]
    return Section("calibration", "Calibration", _TEXT + (FORMER if facts.get("former") else ""), blocks)


def _tells(rule: Mapping[str, Any]) -> bool:
    return len(rule["curve"]) > 1 and bool(rule["targets"])


def _listing(facts: Mapping[str, Any]) -> Listing:
    columns = ("reason", "threshold", "fails", "precision", "recall", "suggested", "fails then", "precision then",
               "recall then")  # fmt: skip
    rows = lines(facts)
    where = "validate/calibration.json"
    return Listing("Reasons", columns, rows, len(rows), where, "reasons")


def lines(facts: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return the lines of a table: any reason, the rules by the thresholds in force, further stored reasons."""
    stored = [(found["reason"], AS_JUDGED, *worth(found), "", "", "", "") for found in facts.get("stored", ())]
    return [("any", AS_JUDGED, *worth(facts["verdict"]), "", "", "", ""), *map(line, facts["rules"]), *stored]


def line(rule: Mapping[str, Any]) -> tuple[str, ...]:
    """Return a rule as a line of a table: now, and at the suggested threshold."""
    best = rule["suggested"]
    then = (f"{best['threshold']:g}", *worth(best)) if best else ("none", "", "", "")
    return (rule["reason"], f"{rule['now']['threshold']:g}", *worth(rule["now"]), *then)


def worth(point: Mapping[str, Any]) -> tuple[str, str, str]:
    """Return how many a threshold fails, its precision and its recall, as people read them."""
    shares = ("-" if point[name] is None else f"{point[name]:.3f}" for name in ("precision", "recall"))
    return (f"{point['flagged']:,}", *shares)  # type: ignore[return-value]


def _curves(rule: Mapping[str, Any], wanted: float) -> Curves:
    marks = [Threshold("now", rule["now"]["threshold"], rule["fails"])]
    if best := rule["suggested"]:
        marks.append(Threshold(f"precision {wanted:g}:", best["threshold"], rule["fails"]))
    points = sorted(rule["curve"], key=lambda point: float(point["threshold"]))
    lines = {
        name: [(point["threshold"], point[name]) for point in points if point[name] is not None]
        for name in ("precision", "recall")
    }
    return Curves(rule["reason"], f"{rule['engine']}.{rule['setting']}", lines, marks)

"""The report of the extraction of a corpus: its facts (the content of report.json) as a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from resplice.transforms.page import Figure, Figures, Listing, Page, Section, Tone
from resplice.transforms.run_page import of_run, reasons, refusals, time_spent

Facts = Mapping[str, Any]
COLUMNS = ("unit", "reason", "detail")
_UNITS = {"bvi-dvc": "logs", "konvid-pairs": "clips", "full-features": "pairs"}


def page(facts: Facts, refused: Sequence[Sequence[str]], folder: str) -> Page:
    """Return the page; `refused` are rows of COLUMNS, `folder` is where the run's files are."""
    why = reasons(facts, "Why some are left out")
    sections = [_overview(facts), _unavailable(facts), why, _refused(facts, refused, folder), time_spent(facts)]
    return of_run(f"Corpus {facts['corpus']}: {facts['run_id']}", _verdict(facts), facts, sections)


def _verdict(facts: Facts) -> tuple[str, Tone]:
    what = _UNITS[facts["corpus"]]
    if facts["summary"] is None or facts["made"] is None:
        return "Not finished: this is what is known so far", "warn"
    if facts["refused"] and not facts["made"]["units"]:
        return f"Empty: none of {facts['refused']:,} {what} could be made", "bad"
    if facts["refused"]:
        return f"Made, without {facts['refused']:,} {what} that could not be", "warn"
    return f"Complete: all {what} are in it", "good"


def _overview(facts: Facts) -> Section:
    summary, made = facts["summary"], facts["made"]
    if summary is None or made is None:
        return Section("overview", "Overview", "", [])
    what = _UNITS[facts["corpus"]]
    figures = [
        Figure(f"{summary['in']:,}", f"{what} found"),
        Figure(f"{summary['done']:,}", f"{what} in the corpus", tone="good"),
        Figure(f"{summary['refused']:,}", f"{what} left out", "each with its reason",
               "warn" if summary["refused"] else "good"),
        Figure(f"{made['rows']:,}", "rows", made["output"]),
    ]  # fmt: skip
    return Section("overview", "Overview", "", [Figures(figures)])


def _unavailable(facts: Facts) -> Section:
    names = (facts["made"] or {}).get("features_unavailable") or []
    rows = [(name,) for name in names]
    listing = Listing("Search", ("feature",), rows, len(rows), "the sidecar of the corpus", "features")
    text = "Null in every row: the tool does not have them, or they failed for every pair."
    return Section("unavailable", "Features that are not available", text, [listing] if rows else [])


def _refused(facts: Facts, refused: Sequence[Sequence[str]], folder: str) -> Section:
    listing = refusals(facts, refused, COLUMNS, f"{folder}/{facts['corpus']}/refused.jsonl")
    return Section("refused", "Left out", "The same command tries them again.", [listing] if refused else [])

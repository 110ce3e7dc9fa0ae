"""The report of the extraction of a corpus: its facts (the content of report.json) as a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from resplice.transforms.page import Bar, Bars, Figure, Figures, Listing, Page, Section, Tone, of_run

Facts = Mapping[str, Any]
COLUMNS = ("unit", "reason", "detail")
_UNITS = {"bvi-dvc": "logs", "konvid-pairs": "clips", "full-features": "pairs"}
_DETAIL = 240


def page(facts: Facts, refused: Sequence[Sequence[str]], folder: str) -> Page:
    """Return the page; `refused` are rows of COLUMNS, `folder` is where the run's files are."""
    sections = [_overview(facts), _unavailable(facts), _reasons(facts), _refused(facts, refused, folder), _time(facts)]
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


def _reasons(facts: Facts) -> Section:
    reasons = facts["summary"]["by_reason"] if facts["summary"] else {}
    most = sorted(reasons.items(), key=lambda entry: (-entry[1], entry[0]))
    rows = [Bar(name, count, f"{count:,}", "warn") for name, count in most]
    return Section("reasons", "Why some are left out", "", [Bars("Reasons", rows)] if rows else [])


def _refused(facts: Facts, refused: Sequence[Sequence[str]], folder: str) -> Section:
    rows = [(*values[:-1], values[-1][:_DETAIL]) for values in refused]
    where, what = f"{folder}/{facts['corpus']}/refused.jsonl", _UNITS[facts["corpus"]]
    listing = Listing("Search", COLUMNS, rows, facts["refused"], where, what)
    return Section("refused", "Left out", "The same command tries them again.", [listing] if rows else [])


def _time(facts: Facts) -> Section:
    rows = [Bar(name, value, f"{value:.1f} s") for name, value in facts["time"]["stages_s"].items()]
    note = "Wall-clock time, all processes of the run together, without those that were killed."
    return Section("time", "Time spent", "", [Bars("Stages", rows, ("stage", "time"), note=note)] if rows else [])

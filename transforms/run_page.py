"""What the reports of all jobs show in one way: when it was made, reasons and refusals, and the time that it took."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from resplice.transforms.page import Bar, Bars, Listing, Page, Section, Tone

_DETAIL = 240


def of_run(title: str, verdict: tuple[str, Tone], facts: Mapping[str, Any], sections: Sequence[Section]) -> Page:
    """Return the page of a run's facts: when and by what it was made, and the sections that hold something."""
    made = facts["time"]["at"][:19].replace("T", " ") + " UTC"
    about = [("made", made), ("by", f"resplice {facts['code_version']}")]
    return Page(title, *verdict, about, [section for section in sections if section.blocks])


def counts(title: str, found: Mapping[str, int], tones: Mapping[str, Tone], note: str = "") -> Bars:
    """Return counts by name, the largest first; names without a tone of their own get `warn`."""
    most = sorted(found.items(), key=lambda entry: (-entry[1], entry[0]))
    return Bars(title, [Bar(name, count, f"{count:,}", tones.get(name, "warn")) for name, count in most], note=note)


def reasons(facts: Mapping[str, Any], title: str) -> Section:
    """Return how often each reason refused a unit of a job of one stage."""
    found = facts["summary"]["by_reason"] if facts["summary"] else {}
    return Section("reasons", title, "", [counts("Reasons", found, {})] if found else [])


def refusals(facts: Mapping[str, Any], rows: Sequence[Sequence[str]], columns: Sequence[str], where: str) -> Listing:
    """Return a listing of refusals, of which `rows` are the first; the last column is a detail, cut where it is long.

    `where` is the file that holds them all.
    """
    return Listing("Search", columns, [[*row[:-1], _short(row[-1])] for row in rows], facts["refused"], where,
                   "refusals")  # fmt: skip


def _short(text: str) -> str:
    return text if len(text) <= _DETAIL else text[: _DETAIL - 1] + "…"


def time_spent(facts: Mapping[str, Any]) -> Section:
    """Return what each stage took."""
    rows = [Bar(name, value, duration(value)) for name, value in facts["time"]["stages_s"].items()]
    note = "Wall-clock time, all processes of the run together, without stages in which one was killed."
    return Section("time", "Time spent", "", [Bars("Stages", rows, ("stage", "time"), note=note)] if rows else [])


def duration(seconds: float) -> str:
    """Return seconds as people read them."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"

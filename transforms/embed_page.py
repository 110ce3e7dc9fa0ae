"""The report of an embedding: its facts (the content of report.json) as a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from resplice.transforms.page import Bar, Bars, Block, Figure, Figures, Listing, Page, Section, Tone, of_run

Facts = Mapping[str, Any]
COLUMNS = ("path", "reason", "detail")


def page(facts: Facts, refused: Sequence[Sequence[str]], folder: str) -> Page:
    """Return the page; `refused` are rows of COLUMNS, `folder` is where the run's files are."""
    sections = [_overview(facts), _vectors(facts), _reasons(facts), _refused(facts, refused, folder), _time(facts)]
    return of_run(f"Embedding {facts['run_id']}", _verdict(facts), facts, sections)


def _verdict(facts: Facts) -> tuple[str, Tone]:
    if facts["summary"] is None or facts["embed"] is None:
        return "Not finished: this is what is known so far", "warn"
    if facts["refused"]:
        return f"{facts['refused']:,} paths have no vector, each with its reason", "warn"
    return "Complete: every path has its vector", "good"


def _overview(facts: Facts) -> Section:
    summary = facts["summary"]
    if summary is None:
        return Section("overview", "Overview", "", [])
    tone = "warn" if summary["refused"] else "good"
    figures = [
        Figure(_count(summary["in"]), "paths requested"),
        Figure(_count(summary["done"]), "have their vector by this run", tone="good"),
        Figure(_count(summary["skipped"]), "left as they were", "completed before, or in the quarantine"),
        Figure(_count(summary["refused"]), "have none", "each with its reason", tone),
    ]  # fmt: skip
    return Section("overview", "Overview", "", [Figures(figures)])


def _count(value: int | None) -> str:
    return "?" if value is None else f"{value:,}"


def _vectors(facts: Facts) -> Section:
    if facts["embed"] is None:
        return Section("vectors", "", "", [])
    made = facts["embed"]["embedder"]
    rows = [["embedder", made["name"]], ["digest", made["digest"]], ["windows", made["windows"]],
            ["shards", facts["embed"]["out"]]]  # fmt: skip
    block: Block = Listing("What made them", ("what", "value"), rows, len(rows), facts["embed"]["out"])
    return Section("vectors", "The vectors", "A vector is of a content, an embedder and its windows.", [block])


def _reasons(facts: Facts) -> Section:
    reasons = facts["summary"]["by_reason"] if facts["summary"] else {}
    most = sorted(reasons.items(), key=lambda entry: (-entry[1], entry[0]))
    rows = [Bar(name, count, f"{count:,}", "warn") for name, count in most]
    return Section("reasons", "Why paths have no vector", "", [Bars("Reasons", rows)] if rows else [])


def _refused(facts: Facts, refused: Sequence[Sequence[str]], folder: str) -> Section:
    if not refused:
        return Section("refused", "", "", [])
    listing = Listing("Search", COLUMNS, refused, facts["refused"], f"{folder}/embed/refused.jsonl", "paths")
    return Section("refused", "Paths without a vector", "The same command with --resume tries them again.", [listing])


def _time(facts: Facts) -> Section:
    rows = [Bar(name, value, f"{value:.1f} s") for name, value in facts["time"]["stages_s"].items()]
    note = "Wall-clock time, all processes of the run together, without those that were killed."
    return Section("time", "Time spent", "", [Bars("Stages", rows, ("stage", "time"), note=note)] if rows else [])

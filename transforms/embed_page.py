"""The report of an embedding: its facts (the content of report.json) as a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from resplice.transforms.page import Block, Figure, Figures, Listing, Page, Section, Tone
from resplice.transforms.run_page import of_run, reasons, refusals, time_spent

Facts = Mapping[str, Any]
COLUMNS = ("path", "reason", "detail")


def page(facts: Facts, refused: Sequence[Sequence[str]], folder: str) -> Page:
    """Return the page; `refused` are rows of COLUMNS, `folder` is where the run's files are."""
    why = reasons(facts, "Why paths have no vector")
    sections = [_overview(facts), _vectors(facts), why, _refused(facts, refused, folder), time_spent(facts)]
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


def _refused(facts: Facts, refused: Sequence[Sequence[str]], folder: str) -> Section:
    listing = refusals(facts, refused, COLUMNS, f"{folder}/embed/refused.jsonl")
    text = "The same command with --resume tries them again."
    return Section("refused", "Paths without a vector", text, [listing] if refused else [])

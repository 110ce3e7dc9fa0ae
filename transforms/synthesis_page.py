"""The report of a synthesis: its facts (the content of report.json) as a page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from resplice.transforms.page import Bar, Bars, Block, Figure, Figures, Page, Section, Tone
from resplice.transforms.run_page import of_run, reasons, refusals, time_spent

Facts = Mapping[str, Any]
COLUMNS = ("book", "chunk", "reason", "detail")
_MOST_BOOKS = 200


def page(facts: Facts, refused: Sequence[Sequence[str]], folder: str) -> Page:
    """Return the page; `refused` are rows of COLUMNS, `folder` is where the run's files are."""
    why = reasons(facts, "Why chunks are not valid")
    sections = [_overview(facts), _books(facts), why, _refused(facts, refused, folder), time_spent(facts)]
    return of_run(f"Synthesis {facts['run_id']}", _verdict(facts), facts, sections)


def _verdict(facts: Facts) -> tuple[str, Tone]:
    if facts["summary"] is None or facts["books"] is None:
        return "Not finished: this is what is known so far", "warn"
    if facts["refused"]:
        return f"Not complete: {facts['refused']:,} chunks are not valid", "bad"
    return "Complete: every chunk is valid", "good"


def _overview(facts: Facts) -> Section:
    summary, saved = facts["summary"], facts["saved"]
    if summary is None:
        return Section("overview", "Overview", "", [])
    total = summary["in"]
    figures = [
        Figure("?" if total is None else f"{total:,}", "chunks expected"),
        Figure(f"{summary['done']:,}", "made by this run", tone="good"),
        Figure("?" if summary["skipped"] is None else f"{summary['skipped']:,}", "valid before, left as they were"),
        Figure(f"{summary['refused']:,}", "not valid", "each with its reason", "bad" if summary["refused"] else "good"),
    ]
    if saved:
        figures.append(Figure(f"{saved['engine_s']:,.1f} s", "of engine time", "the last process that made chunks"))
        figures.append(Figure(f"{saved['saved_s']:,.1f} s", "saved", f"{saved['kept']:,} chunks kept", "good"))
    return Section("overview", "Overview", "", [Figures(figures)])


def _books(facts: Facts) -> Section:
    if not facts["books"]:
        return Section("books", "", "", [])
    order = sorted(facts["books"].items(), key=lambda item: (item[1]["valid"] - item[1]["chunks"], item[0]))
    rows = [Bar(name, of["valid"], f"{of['valid']:,} of {of['chunks']:,}", _tone(of)) for name, of in order]
    engines: Counter[str] = Counter()
    for of in facts["books"].values():
        engines.update(of["engines"])
    note = f"The first {_MOST_BOOKS} of {len(rows):,}." if len(rows) > _MOST_BOOKS else ""
    blocks: list[Block] = [
        Bars("Valid chunks of each book", rows[:_MOST_BOOKS], ("book", "chunks"), note=note),
        Bars("Which engine made the valid chunks", [Bar(n, c, f"{c:,}") for n, c in engines.most_common()],
             ("engine", "chunks")),
    ]  # fmt: skip
    return Section("books", "Books", "Books that lack most come first.", blocks)


def _tone(of: Facts) -> Tone:
    return "good" if of["valid"] == of["chunks"] else "warn"


def _refused(facts: Facts, refused: Sequence[Sequence[str]], folder: str) -> Section:
    text = "Run the same command again to try them again."
    listing = refusals(facts, refused, COLUMNS, f"{folder}/synthesize/refused.jsonl")
    return Section("refused", "Chunks that are not valid", text, [listing] if refused else [])

"""What a backfill of documents came to: its counters, and its report as a page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from resplice.transforms.documents import SOURCES
from resplice.transforms.page import Bar, Bars, Block, Figure, Figures, Flow, Node, Page, Section, Tone
from resplice.transforms.records import Reason
from resplice.transforms.run_page import counts, of_run, refusals, time_spent

Facts = Mapping[str, Any]
_SHORT = {"evaluation": "eval"}
_AFTER = (Reason.ID_COLLISION, Reason.CONTENT_CHANGED)
"""Refusals of rows that had been joined."""
_TONES: dict[str, Tone] = {
    Reason.DUPLICATE_SAME_CONTENT: "plain",
    Reason.NOT_SUCCESSFUL: "plain",
    Reason.ID_COLLISION: "bad",
    Reason.CONTENT_CHANGED: "bad",
}
COLUMNS = ("csv and row", "reason", "task and time", "detail")


def counted(settled: Iterable[Facts]) -> dict[str, Any]:
    """Return the counts of all blocks by source: rows, documents, refusals by reason."""
    found: dict[str, dict[str, Any]] = {
        source.name: {"rows": 0, "documents": 0, "reasons": Counter()} for source in SOURCES
    }
    for block in settled:
        of = found[SOURCES[block["source"]].name]
        of["rows"] += block["rows"]
        of["documents"] += block["known"] + block["new"]
        of["reasons"].update(block["reasons"])
    return {name: {**of, "reasons": dict(sorted(of["reasons"].items()))} for name, of in found.items()}


def counters(facts: Facts) -> dict[str, int]:
    """Return the counters of a backfill by name, from what `counted` returned."""
    told: dict[str, int] = {}
    for source in SOURCES:
        of, name = facts[source.name], _SHORT.get(source.name, source.name)
        told[f"{name}_ok"] = of["documents"]
        told[f"{name}_missing_response"] = of["reasons"].get(Reason.MISSING_RESPONSE_FILE, 0)
        joined = of["documents"] + sum(of["reasons"].get(reason, 0) for reason in _AFTER)
        if source.name == "essay":
            told["essay_parent_resolved"] = joined
            told["essay_unresolved_parent"] = of["reasons"].get(Reason.UNRESOLVED_PARENT, 0)
        if source.name == "evaluation":
            told["eval_resolved"] = joined
            told["eval_unresolved_target"] = of["reasons"].get(Reason.UNRESOLVED_TARGET, 0)
    return {**told, "bad_rows": sum(sum(of["reasons"].values()) for of in facts.values())}


def page(facts: Facts, refused: Sequence[Sequence[str]], folder: str) -> Page:
    """Return the report; `refused` are rows of COLUMNS, `folder` is where the run's files are."""
    sections = [_overview(facts), _flow(facts), _reasons(facts), _refused(facts, refused, folder), time_spent(facts)]
    return of_run(f"Documents {facts['run_id']}", _verdict(facts), facts, sections)


def _verdict(facts: Facts) -> tuple[str, Tone]:
    summary = facts["summary"]
    if summary is None:
        return "Not finished: this is what is known so far", "warn"
    if summary["by_reason"].get(Reason.ID_COLLISION):
        return "Ids collide: see the refused rows", "bad"
    if not summary["refused"]:
        return "Complete: every row is a document", "good"
    return "Complete: every row is a document, or in the bad list with its reason", "good"


def _overview(facts: Facts) -> Section:
    summary = facts["summary"]
    if summary is None:
        return Section("overview", "Overview", "", [])
    rows, share = summary["in"], summary["done"] / (summary["in"] or 1)
    figures = [
        Figure(f"{rows:,}", "rows of all CSVs"),
        Figure(f"{summary['done']:,}", "documents", f"{share:.1%} of the rows", "good"),
        Figure(f"{summary['refused']:,}", "bad rows", "each with its reason"),
    ]
    for name, reason in (("essay", Reason.UNRESOLVED_PARENT), ("evaluation", Reason.UNRESOLVED_TARGET)):
        of = facts["sources"][name]
        lost = of["reasons"].get(reason, 0)
        what = "parent" if name == "essay" else "target"
        figures.append(
            Figure(f"{lost:,}", f"{name}s without a {what}", f"of {of['rows']:,}", "warn" if lost else "good")
        )
    return Section("overview", "Overview", "", [Figures(figures)])


def _flow(facts: Facts) -> Section:
    if not facts["sources"]:
        return Section("flow", "", "", [])
    reasons = sorted({reason for of in facts["sources"].values() for reason in of["reasons"]})
    nodes = [Node("rows", 0, "rows")]
    nodes += [Node(name, 1, f"{name} rows") for name, of in facts["sources"].items() if of["rows"]]
    nodes += [Node("documents", 2, "documents", "good"), *(Node(r, 2, r, _TONES.get(r, "warn")) for r in reasons)]
    links = [("rows", name, of["rows"]) for name, of in facts["sources"].items() if of["rows"]]
    for name, of in facts["sources"].items():
        links += [(name, "documents", of["documents"])] if of["documents"] else []
        links += [(name, reason, count) for reason, count in of["reasons"].items()]
    text = "From the rows of the CSVs, by the file that they are of, to what became of each."
    return Section(
        "flow", "Every row, from CSV to index", text, [Flow("Rows by what they became", "rows", nodes, links)]
    )


def _reasons(facts: Facts) -> Section:
    blocks: list[Block] = []
    if sources := facts["sources"]:
        rows = [
            Bar(name, of["documents"], f"{of['documents']:,} of {of['rows']:,}", "good") for name, of in sources.items()
        ]
        blocks.append(Bars("Documents of each kind", rows, ("kind", "documents")))
        for name, of in sources.items():
            if of["reasons"]:
                total = sum(of["reasons"].values())
                note = f"{of['rows']:,} rows = {of['documents']:,} documents + {total:,} bad rows"
                blocks.append(counts(f"{name}: why rows are no documents", of["reasons"], _TONES, note))
    return Section("reasons", "Counts by stage and reason", "", blocks)


def _refused(facts: Facts, refused: Sequence[Sequence[str]], folder: str) -> Section:
    text = "Rows that became no document, and why. Row 0 is the first one below the header."
    listing = refusals(facts, refused, COLUMNS, f"{folder}/documents/refused.jsonl")
    return Section("refused", "Bad rows", text, [listing] if refused else [])

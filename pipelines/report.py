"""Write the report of a run for people: one HTML file that needs nothing else, and its facts as JSON.

    resplice report --run-id recovery-a

Reads   what the stages of the run have written, a few repaired tars and their former ones.
Writes  report.html, report.json in the folder of the run; also done by `verify`.
Skips   nothing. Refuses nothing: a stage that has not ended is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from resplice.io import (
    corpus_facts,
    documents_facts,
    embed_facts,
    html,
    refusals,
    report,
    runstate,
    samples,
    synthesis_facts,
)
from resplice.io.context import Context
from resplice.pipelines import launch
from resplice.pipelines.config import Resolved
from resplice.transforms import corpus_page, documents_page, embed_page, provenance, recovery_page, synthesis_page
from resplice.transforms.page import Page
from resplice.transforms.records import Exit

_HTML = "report.html"
INLINE = 5000
"""Refusals that a page holds; it tells the count and the files of the rest."""


def run(args: Any, resolved: Resolved, beam_argv: Sequence[str]) -> int:
    """Run the command."""
    context = launch.context(args, resolved)
    runstate.record(context)
    write(context, {}, args.dry_run)
    print(f"{'would write' if args.dry_run else 'report:'} {path(context)}")
    return Exit.DONE


def write(context: Context, seconds: Mapping[str, float], dry: bool = False) -> None:
    """Write the report of the run as it is now; `seconds` are those of this process, by stage."""
    place, folder = context.workspace, context.stage("")
    facts, page_ = _facts_and_page(context, dict(seconds))
    made = html.render(page_)
    if not dry:
        refusals.put(place.store, f"{folder}{_HTML}", made)
        refusals.put(place.store, f"{folder}report.json", provenance.document(facts))


def _recovery(context: Context, seconds: dict[str, float]) -> tuple[dict[str, Any], Page]:
    facts = report.facts(context, seconds)
    lines = report.refused(context, INLINE)
    rows = [(line.unit, line.stage, line.reason, line.segment, line.detail) for line in lines]
    heard = samples.listenings(context) if facts["plan"] else []
    return facts, recovery_page.page(facts, rows, heard, _folder(context))


JOBS: tuple[tuple[Any, Any], ...] = (
    (documents_facts, documents_page),
    (synthesis_facts, synthesis_page),
    (embed_facts, embed_page),
    (corpus_facts, corpus_page),
)
"""Of each further job, the module that knows a run of it and its facts, and the one that makes their page."""


def _facts_and_page(context: Context, seconds: dict[str, float]) -> tuple[dict[str, Any], Page]:
    for job, page in JOBS:
        if job.is_one(context):
            facts = job.facts(context, seconds)
            return facts, page.page(facts, job.refused(context, INLINE), _folder(context))
    return _recovery(context, seconds)


def _folder(context: Context) -> str:
    return context.workspace.path(context.stage("").rstrip("/"))


def path(context: Context) -> str:
    """Return where the report of the run is, seen from the current folder."""
    url = context.workspace.path(context.stage(_HTML))
    if not context.workspace.local:
        return url
    where = Path(url)
    return str(where.relative_to(Path.cwd()) if where.is_relative_to(Path.cwd()) else where)

"""Rebuild an index of documents, and a folder for each, from the CSVs of historical generations.

    resplice documents --cross-root data/7_cross_experiment --gen-root data/3_generation --docs-root data/docs
        --db sqlite:///data/db/documents.sqlite --run-id backfill-a

Reads   draft_, link_, essay_generation_results.csv and evaluation_results.csv, the responses that they name; the index,
        for what this run has put there already.
Writes  DOCS_ROOT/{stage}/{logical_key_id}/{doc_id}/, then a row each in the table documents; the bad list; last
        DOCS_ROOT.manifest.json;
        report.html and report.json of the run. With --strict and a bad row: the bad list alone.
Skips   documents that are in the index under this run with the same bytes.
Refuses invalid_row, not_successful, unsafe_path, missing_response_file, undecodable_response, duplicate_same_content,
        unresolved_parent, unresolved_target, id_collision, content_changed.
Exit 1 for a collision of ids, 3 with --strict or above run.max_refused.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter, itemgetter
from pathlib import Path
from typing import Any

from resplice.io import csvs, doctree, documents_evidence, refusals, settling
from resplice.io.backfill import (
    DECIDED,
    DRAFTS,
    ESSAYS,
    EVALUATIONS,
    IDS,
    PARENTS,
    REST,
    TARGETS,
    Collide,
    Duplicates,
    Examine,
    Parents,
    Places,
    Targets,
)
from resplice.io.context import Context
from resplice.io.csvs import Block
from resplice.io.gather import Gather, collected
from resplice.io.index import Index
from resplice.io.local import LocalStore
from resplice.io.parcels import Parcels
from resplice.io.progress import by_marks, marked
from resplice.io.settling import BLOCKS, STAGE, Settle, Write
from resplice.pipelines import launch, report
from resplice.pipelines.config import Resolved
from resplice.pipelines.indexed import bad_list_of, folder_of, url_of
from resplice.pipelines.launch import Session
from resplice.transforms import provenance
from resplice.transforms.documents import SOURCES
from resplice.transforms.documents_page import counted, counters
from resplice.transforms.lineage import Decision, Ref, of_the_first_stage
from resplice.transforms.records import Exit, Reason, Refusal

_ROWS_A_PART = 4000
_MOST_PARTS = 64
_HARMLESS = Reason.DUPLICATE_SAME_CONTENT


@dataclass(frozen=True)
class Job:
    """What a backfill works on: its places, the CSVs in blocks, and where the bad list goes."""

    places: Places
    blocks: tuple[Block, ...]
    bad_list: Path

    @property
    def csvs(self) -> list[Path]:
        """Return the CSVs."""
        return sorted({Path(block.path) for block in self.blocks})

    @property
    def rows(self) -> int:
        """Return the data rows of all CSVs."""
        return sum(block.rows for block in self.blocks)

    def bad(self, context: Context) -> Iterator[dict[str, Any]]:
        """Yield the bad rows: there may be more of them than fit into memory well."""
        return settling.bad_list(context, [block.name for block in self.blocks])


def run(args: Any, resolved: Resolved, beam_argv: Sequence[str]) -> int:
    """Run the command."""
    given = places(args)  # what cannot be meant is told before anything is recorded
    return launch.run(STAGE, args, resolved, beam_argv, lambda session: job(session, *given), corpus=False)


def places(args: Any) -> tuple[Path, Places, Path]:
    """Return the folder of the CSVs, the places and the bad list that the flags name."""
    cross = Path(folder_of(args.cross_root, "--cross-root"))
    roots = tuple(folder_of(root, "--gen-root") for root in args.gen_root or ("data/3_generation",))
    docs = folder_of(args.docs_root, "--docs-root", there=False)
    url = url_of(args.db)
    indexed = Index(url).exists()
    bad = bad_list_of(args.bad_list or str(cross / "bad_generations.csv"), str(cross), roots, docs, url)
    return cross, Places(roots, docs, url, 1, indexed), bad


def job(session: Session, cross: Path, given: Places, bad_list: Path) -> None:
    """Do the backfill, and unless nothing was to be written, write the report and say where it is."""
    backfill(session, cross, given, bad_list)
    if STAGE in session.counts and not session.dry:
        report.write(session.context, session.seconds)
        session.say(f"report: {report.path(session.context)}")


@launch.stage(STAGE)
def backfill(session: Session, cross: Path, given: Places, bad_list: Path) -> None:
    """Decide every row, write what may be written, and count what is there."""
    context = session.context
    blocks = tuple(b for number in range(len(SOURCES)) for b in csvs.blocks(cross, number, session.note))
    parts = min(_MOST_PARTS, sum(block.rows for block in blocks) // _ROWS_A_PART + 1)
    job = Job(replace(given, parts=parts), blocks, bad_list)
    settling.clear(context)
    try:
        settled, out = decide(session, job)
        reasons = sum((Counter(line["reasons"]) for line in settled), Counter[str]())
        if not session.dry:
            refusals.put(LocalStore(str(bad_list.parent)), bad_list.name, settling.bad_csv(job.bad(context)))
        if session.args.strict and reasons.keys() - {_HARMLESS}:
            _refuse_all(session, settled, reasons)
        else:
            _finish(session, job, settled, reasons, publish(session, job, settled))
    finally:
        settling.clear(context)
    if any(decision.reason == Reason.ID_COLLISION for decision in out.values()):
        session.exit_code = Exit.FAILED


def decide(session: Session, job: Job) -> tuple[list[dict[str, Any]], dict[Ref, Decision]]:
    """Decide every row; return the counts of each block, and the rows that are out: whose ids collide, or which
    became another document of this run before. The joins are made again without them, so that nothing points to them.
    """
    context, out = session.context, dict[Ref, Decision]()
    while True:
        gauge = by_marks(context, STAGE, 2 * len(job.blocks))
        with session.progress(gauge):
            with session.pipeline() as pipeline:
                build(pipeline, context, job, out)
            settled, clashes = (collected(context, STAGE, name) for name in (_SETTLED, _COLLISIONS))
        pairs = [*clashes, *(decision for line in settled for decision in line["out"])]
        found = of_the_first_stage(map(Decision.of, pairs))
        if all(decision.ref in out for decision in found):
            return sorted(settled, key=itemgetter("block")), out
        out |= {decision.ref: decision for decision in found}
        settling.clear(context)


_SETTLED, _COLLISIONS = "settled", "collisions"


def build(pipeline: Any, context: Context, job: Job, colliding: Mapping[Ref, Decision]) -> None:
    """Compose the joins: drafts by their bytes, essays with drafts, evaluations with essays, else with drafts."""
    import apache_beam as beam

    from resplice.transforms.steps import HandBack, JoinByKey, Work, source

    parcels = Parcels(context.workspace, context.passing(STAGE))
    shape = context.run.id, job.places.parts, parcels
    examine = marked(context, STAGE, "examine", Examine(job.places, parcels, colliding), attrgetter("name"))
    settle = marked(context, STAGE, "settle", Settle(context, job.places, parcels), itemgetter(0))
    rows = (
        pipeline
        | "Blocks" >> source(job.blocks)
        | "Examine" >> Work(examine, "Rows", outputs=(DRAFTS, ESSAYS, EVALUATIONS, REST, DECIDED))
    )
    drafts = {DRAFTS: rows[DRAFTS]} | "Duplicates" >> JoinByKey(
        Duplicates(*shape), "Tell", (PARENTS, TARGETS, DECIDED, IDS)
    )
    essays = {ESSAYS: rows[ESSAYS], PARENTS: drafts[PARENTS]} | "Parents" >> JoinByKey(
        Parents(*shape), "Find", (TARGETS, DECIDED, IDS)
    )
    judged = {EVALUATIONS: rows[EVALUATIONS], TARGETS: essays[TARGETS]} | "Targets" >> JoinByKey(
        Targets(*shape, "essay"), "Find", (REST, DECIDED, IDS)
    )
    rest = (rows[REST], judged[REST]) | "Rest" >> beam.Flatten()
    others = {EVALUATIONS: rest, TARGETS: drafts[TARGETS]} | "DraftTargets" >> JoinByKey(
        Targets(*shape, "generation"), "Find", (DECIDED, IDS)
    )
    joined = (drafts, essays, judged, others)
    ids = [side[IDS] for side in joined] | "Ids" >> beam.Flatten()
    clashes = {IDS: ids} | "Collisions" >> JoinByKey(Collide(parcels), "Compare")
    _ = clashes | "Collided" >> HandBack(Gather(context, STAGE, _COLLISIONS))
    decided = [side[DECIDED] for side in (rows, *joined)] | "Decided" >> beam.Flatten()
    named = pipeline | "NamedBlocks" >> source([(block.name, block) for block in job.blocks])
    settled = {BLOCKS: named, DECIDED: decided} | "Settle" >> JoinByKey(settle, "Block")
    _ = settled | "Settled" >> HandBack(Gather(context, STAGE, _SETTLED, len(job.blocks)))


def publish(session: Session, job: Job, settled: Sequence[dict[str, Any]]) -> int:
    """Write folders, then rows, a transaction a block; return how many documents are new in the index."""
    if session.dry:
        return sum(line["new"] for line in settled)
    context, index = session.context, Index(job.places.db)
    index.create()
    todo = [line["block"] for line in settled if line["made"]]
    if not todo:
        return 0
    with doctree.workshop(Path(job.places.docs)) as shop:
        gauge = by_marks(context, STAGE, len(todo))
        with session.progress(gauge), session.pipeline() as pipeline:
            write(pipeline, context, job.places, todo, shop)
    doctree.settle()
    rows = ([line["row"] for line in settling.left(context, f"{name}.made") if line["new"]] for name in todo)
    return sum(index.insert(some) for some in rows if some)


def _finish(
    session: Session, job: Job, settled: Sequence[dict[str, Any]], reasons: Mapping[str, int], new: int
) -> None:
    context, stage = session.context, session.context.stage(STAGE)
    facts = counted(settled)
    done = sum(line["known"] for line in settled)  # by what the index held of them
    done += new if session.dry else sum(Index(job.places.db).count(_new_ids(context, b.name)) for b in job.blocks)
    refusals.put(context.workspace.store, f"{stage}/counts.json", provenance.document(facts))
    if not session.dry:
        stats = {"rows": job.rows, "documents": done, **counters(facts)}
        documents_evidence.write(context, job.places, job.csvs, job.bad_list, stats, reasons)
    refused = (
        session.refused(STAGE, line["key"], Refusal(Reason(line["reason"]), line["detail"], str(line["row_index"])))
        for line in job.bad(context)
    )
    summary = session.finish(STAGE, job.rows, done, 0, refused, unit="row", counters=counters(facts))
    session.say(f"documents: {new} new, {done} in the index, {summary.refused} bad rows of {job.rows}")
    for name, count in counters(facts).items():
        session.say(f"  {name:26} {count:>8}")


def _new_ids(context: Context, block: str) -> list[str]:
    return [line["row"]["doc_id"] for line in settling.left(context, f"{block}.made") if line["new"]]


def _refuse_all(session: Session, settled: Sequence[dict[str, Any]], reasons: Mapping[str, int]) -> None:
    strict = sum(count for reason, count in reasons.items() if reason != _HARMLESS)
    session.say(f"documents: nothing is written with --strict: {strict} bad rows")
    for name, count in counters(counted(settled)).items():
        session.say(f"  {name:26} {count:>8}")
    session.exit_code = Exit.INCOMPLETE


def write(pipeline: Any, context: Context, given: Places, todo: Sequence[str], shop: str) -> None:
    """Compose the writing: the folders of each block, on their own."""
    from resplice.transforms.steps import Work, source

    work = marked(context, STAGE, "write", Write(context, given, shop))
    _ = pipeline | "Made" >> source(todo) | "Write" >> Work(work, "Folders")

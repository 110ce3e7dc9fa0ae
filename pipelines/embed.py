"""Embed audio: files of a library, or the segments of videos; what is embedded already is left alone.

    resplice embed music --out data/embeddings --resume

Reads   the audio files (or the tars of videos), digests.json of the workspace, the shards in --out, the checkpoint.
Writes  OUT/{number}-{run}/*.parquet and a sidecar beside them, meta.json and vectors/ of --library, then the
        checkpoint, the log of failures and the quarantine beside it; report.html and report.json of the run;
        preview.html on --preview.
Skips   with --resume what is completed, or there, with the same identity; what is in the quarantine.
Refuses missing, empty, unsupported, undecodable, too_short, non_finite, timeout, crashed.
Exit 3 if nothing succeeded and something failed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from resplice.io import digests, hearing, html, refusals, segments, sidecars, spans, vectors, walk
from resplice.io import embedding_evidence as evidence
from resplice.io.checkpoint import Checkpoint
from resplice.io.digests import Digests
from resplice.io.embedded import Publish
from resplice.io.embedders import Choice
from resplice.io.embedding import STAGE, Job, Load
from resplice.io.keeping import Keeper
from resplice.io.library import LibraryFile
from resplice.io.progress import by_ledger
from resplice.io.refusals import Refused
from resplice.io.store import Place
from resplice.io.vectors import Index
from resplice.pipelines import checks, identity, launch, progress, report
from resplice.pipelines.config import Resolved
from resplice.pipelines.launch import Session
from resplice.transforms import checkup, paths, provenance, retry
from resplice.transforms.embedding import Decision, Item, Unit, decide, items
from resplice.transforms.records import Exit, UserError
from resplice.transforms.windows import Windows

PREVIEW = "preview.html"


@dataclass(frozen=True)
class Asked:
    """What the flags ask for, checked before anything is written."""

    choice: Choice
    windows: Windows
    out: Place
    checkpoint: Checkpoint
    before: Mapping[str, Any]
    library: LibraryFile | None
    given: tuple[str, ...]
    of_videos: bool

    @property
    def facts(self) -> dict[str, Any]:
        """Return what the checkpoint tells of them."""
        return {"embedder": self.choice.name, "embedder_digest": self.choice.digest, "windows": str(self.windows)}


def run(args: Any, resolved: Resolved, beam_argv: Sequence[str]) -> int:
    """Run the command."""
    ask = asked(args, resolved)  # what cannot be meant is told before anything is recorded
    corpus = bool(args.of_run or args.videos)
    return launch.run(STAGE, args, resolved, beam_argv, lambda session: job(session, ask), corpus=corpus)


def asked(args: Any, resolved: Resolved) -> Asked:
    """Return what the flags ask for. UserError for what cannot be meant, or read."""
    sources = [bool(args.paths or args.paths_file), bool(args.of_run), bool(args.videos)]
    if sum(sources) != 1:
        raise UserError("give files or folders (also as --paths-file), or --of-run, or --videos: one of the three")
    if None not in (args.workers, args.num_workers) and args.workers != args.num_workers:
        raise UserError(
            f"--workers {args.workers} and --num-workers {args.num_workers} are one setting: give one of them"
        )
    if args.videos and not segments.valid(checks.read_ids(args.videos)):
        raise UserError(f"--videos {args.videos} lists no video: give a file with one video id a line")
    if args.with_results and not (args.of_run or args.videos):
        raise UserError("--with-results is about videos: give --of-run or --videos")
    settings = resolved.settings
    choice, cut = identity.choice(resolved), identity.windows_of(args, settings.embed.windows)
    checkpoint = Checkpoint.at(args.checkpoint_file)
    before = checkpoint.load()
    library = LibraryFile.at(args.library, settings.store) if args.library else None
    if library is not None:
        checkpoint.apart_from(args.library)
        library.read()
    given = (*args.paths, *(walk.listed(args.paths_file) if args.paths_file else ()))
    out = Place(url_of(args.out), options=settings.store)
    return Asked(choice, cut, out, checkpoint, before, library, given, not sources[0])


def url_of(out: str) -> str:
    """Return the root that --out names. UserError where no folder can be."""
    if out.startswith(paths.S3):
        return out.rstrip("/")
    url = walk.absolute(out)
    if blocked := next((each for each in (Path(url), *Path(url).parents) if each.exists() and not each.is_dir()), None):
        raise UserError(f"--out {out}: {blocked} is a file; name a folder")
    return url


def job(session: Session, ask: Asked) -> None:
    """Embed, and unless nothing was to be written, write the report and say where it is."""
    embed(session, ask)
    if not session.dry:
        report.write(session.context, session.seconds)
        session.say(f"report: {report.path(session.context)}")
        if session.args.preview:
            session.say(f"preview: {ask.out.path(PREVIEW)}")


@launch.stage(STAGE)
def embed(session: Session, ask: Asked) -> None:
    """Find what there is, decide what is to do, do it, and prove that every path is accounted for."""
    context = session.context
    found, repeated = inventory(session, ask)
    index = Index(ask.out.store, ask.windows.many)
    index.refresh()
    decision = plan(session, ask, found, index)
    counters = decision.counters()
    if index.foreign:
        session.note(f"{STAGE}: left out, as no shards of embed: {', '.join(index.foreign[:5])}")
    if repeated:
        session.note(f"{STAGE}: {repeated} paths were listed more than once")
    if session.dry:
        session.say("\n".join(f"  {name:20} {count:>8,}" for name, count in counters.items()))
        return
    work = Job(
        context, ask.choice, ask.windows, ask.out, _writing(session, index, decision), ask.library,
        of_videos=ask.of_videos, with_results=session.args.with_results,
        tars=segments.Tars(context) if ask.of_videos else None, dim=index.dims.get(ask.choice.digest, 0),
    )  # fmt: skip
    keeper = Keeper.of(work, ask.checkpoint, session.args.checkpoint_every, ask.facts, decision,
                       ask.before if session.args.resume else {}, index)  # fmt: skip
    keeper.begin(decision, index)
    make(session, work, keeper, found, decision, index)
    finish(session, work, keeper, found, decision, index)
    if session.args.preview:
        refusals.put(ask.out.store, PREVIEW, html.render(hearing.page(work, found, index)))


def inventory(session: Session, ask: Asked) -> tuple[list[Unit], int]:
    """Return every requested file or segment with the digest of its bytes, and how many paths came again.

    Only what has another token than when its digest was remembered is read.
    """
    context, memory = session.context, Digests(session.context.workspace.store, digests.MEMORY)
    if not ask.of_videos:
        walked = walk.walk(ask.given, context.settings.store)
        if not walked.files:
            raise UserError(f"no audio file is in what was given; known kinds: {', '.join(sorted(paths.EXTENSIONS))}")
        told = progress.Told()
        with progress.shown("inventory", "file", len(walked.files), told.counts, session.quiet):
            hashed = digests.hashed(walked.files, memory, context.settings.store, context.settings.run.workers, told)
        found = [Unit(file.key, file.path, hashed[file.key] or "", *memory.version(file.key)) for file in walked.files]
        repeated = walked.repeated
    else:
        args, repeated = session.args, 0
        tars = (segments.of_run(context, args.of_run) if args.of_run
                else segments.of_videos(context, checks.read_ids(args.videos)))  # fmt: skip
        found = segments.units(context, tars, memory)
        if args.with_results:
            found = segments.with_results(context, found)
    if not session.dry:
        memory.save()
    return found, repeated


def plan(session: Session, ask: Asked, found: Sequence[Unit], index: Index) -> Decision:
    """Decide every unit."""
    resume = session.args.resume
    completed = frozenset(ask.before.get("completed_paths", ())) if resume else frozenset()
    quarantined = (
        () if session.args.retry_quarantined else ask.checkpoint.quarantined(ask.choice.digest, str(ask.windows))
    )
    return decide(found, index.present, ask.choice.digest, str(ask.windows), completed, quarantined, resume)


def _writing(session: Session, index: Index, decision: Decision) -> int:
    """Return the number of this writing; that of before where nothing is to be written."""
    if not decision.queued:
        return index.writing
    replaced = [index.present[unit.key] for unit in decision.queued if unit.key in index.present]
    return index.begin(session.context.run.id, replaced, session.args.resume)


def make(session: Session, work: Job, keeper: Keeper, found: Sequence[Unit], decision: Decision, index: Index) -> None:
    """Embed what is queued."""
    if not decision.queued:
        return
    left = {unit.key for unit in (*decision.checkpoint, *decision.existing, *decision.quarantined)}
    there = index.owners.get((work.writing, session.context.run.id), set())
    packed = [unit for unit in found if unit.key not in left or unit.key in there]
    todo = frozenset(unit.key for unit in decision.queued)
    of = provenance.line([work.choice.digest, str(work.windows), provenance.VERSION, work.with_results])
    work_items = items(packed, todo, decision.known, min(keeper.every, _MOST), of)
    gauge = by_ledger(session.context, STAGE, todo, "path", retry.ALL)
    with keeper.keeping(), session.progress(gauge), session.pipeline() as pipeline:
        build(pipeline, work, work_items)


_MOST = 1000
"""Contents in an item, at most."""


def build(pipeline: Any, work: Job, work_items: Sequence[Item]) -> Any:
    """Compose the pipeline: items are inferred one by one by RunInference, and published."""
    from resplice.transforms.steps import Infer, source

    context = work.context
    listed = spans.write(context, STAGE, "items", map(asdict, work_items), Item.from_json)
    memory_mb = checkup.needed_mb(1, context.settings.run.memory_mb)
    embed_ = Infer(Load(work, listed.lines), Publish(work), "Publish", memory_mb)
    return pipeline | "Items" >> source(listed.spans, memory_mb) | "Embed" >> embed_


def finish(
    session: Session, work: Job, keeper: Keeper, found: Sequence[Unit], decision: Decision, index: Index
) -> None:
    """Look at what is there now, count every unit from it, and tell how it ended."""
    context, counters = session.context, keeper.counters
    index.refresh()
    mine = index.of_run(context.run.id) & {unit.key for unit in found}  # another run may have replaced them since
    failed = session.refusals_of(STAGE, [unit.key for unit in decision.queued])
    gone = {line.unit for line in failed}
    done = len(mine - gone)
    skipped = [unit for unit in (*decision.checkpoint, *decision.existing, *decision.quarantined)
               if unit.key not in mine]  # fmt: skip
    if counters["queued"] != counters["succeeded"] + counters["failed"]:
        raise RuntimeError(f"{STAGE}: {counters['queued']} queued, but {counters['succeeded']} succeeded and "
                           f"{counters['failed']} failed")  # fmt: skip
    quarantined = keeper.end(index)
    maker = {"name": work.choice.name, "digest": work.choice.digest, "windows": str(work.windows)}
    facts = {"embedder": maker, "writing": work.writing, "out": work.out.url}
    refusals.put(context.workspace.store, f"{context.stage(STAGE)}/embed.json", provenance.document(facts))
    session.finish(STAGE, len(found), done, len(skipped), failed, unit="path")
    artifact = vectors.folder(work.writing, context.run.id)
    if decision.queued or (index.run_id == context.run.id and not sidecars.exists(work.out.store, artifact)):
        _vouch(session, work, found, index, failed)
    session.counts[STAGE] |= {"checkpoint": counters}
    _tell(session, work, keeper, quarantined)
    if counters["failed"] and not counters["succeeded"]:
        session.exit_code = Exit.INCOMPLETE


def _vouch(session: Session, work: Job, found: Sequence[Unit], index: Index, failed: Sequence[Refused]) -> None:
    """Write the evidence of what this writing holds."""
    memory = Digests(session.context.workspace.store, digests.MEMORY)
    there = index.owners.get((work.writing, session.context.run.id), set())
    embedded = [unit for unit in found if unit.key in there]
    stats = {"paths": len(embedded), "contents": len({unit.sha256 for unit in embedded})}
    reasons = Counter(line.reason for line in failed)
    evidence.write(work, memory, embedded, session.args.paths_file or "", stats, dict(sorted(reasons.items())))
    memory.save()


def _tell(session: Session, work: Job, keeper: Keeper, quarantined: int) -> None:
    counters = keeper.counters
    session.say(
        f"{STAGE}: {counters['succeeded']:,} of {counters['queued']:,} queued paths succeeded, "
        f"{counters['failed']:,} failed; {keeper.hours:.2f} h of audio, {keeper.embedded:,} contents embedded"
    )
    for name, count in counters.items():
        session.say(f"  {name:20} {count:>8,}")
    if quarantined:
        session.say(
            f"  {quarantined} contents are in {keeper.checkpoint.quarantine}; --retry-quarantined tries them again"
        )
    session.say(f"  shards: {work.out.path('')}")
    session.say(f"  checkpoint: {keeper.checkpoint.path}")
    if counters["failed"]:
        session.say(f"  failures: {keeper.checkpoint.failed_log}")

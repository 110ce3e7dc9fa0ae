"""Replace the wrong tars and set the statuses of a verified run; undo restores what finalize replaced.

    resplice finalize --run-id recovery-a --apply
    resplice undo --run-id recovery-a --statuses --apply

Reads   the coverage, the latest snapshot and its repaired tars, the baseline's tokens and statuses; undo: the journal.
Writes  finalize/journal.jsonl (before the first effect), finalize/originals/, then the corpus's transcribed tars and
        videos.validation_status. Without --apply: nothing.
Skips   what is as it shall be.
Refuses conflict: a tar or a status that is neither what the baseline saw nor what the journal expects.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from resplice.io import journal, spans
from resplice.io.context import Context
from resplice.io.digests import Digests
from resplice.io.effects import Examine, ReplaceTars, SetStatuses, statuses_now, tar_now
from resplice.io.gather import Gather, collect, gathered
from resplice.io.journal import CONFLICT, DONE, STATUS, TAR, TO_DO, Decision, Effect, Key, Now
from resplice.io.progress import by_marks, marked
from resplice.io.statuses import Statuses
from resplice.io.wanted import verified, wanted_statuses, wanted_tars
from resplice.io.work import planned
from resplice.pipelines import launch
from resplice.pipelines.args import Undo
from resplice.pipelines.config import Resolved
from resplice.pipelines.launch import Session
from resplice.transforms.records import Exit, Reason, Refusal, UserError

BATCH = 500
_SHOWN = 5


def run(args: Any, resolved: Resolved, beam_argv: Sequence[str]) -> int:
    """Run the command: finalize, or undo."""
    if args.apply and args.dry_run:
        raise UserError("--apply and --dry-run contradict each other: give one of them")
    undo_ = isinstance(args, Undo)
    args = replace(args, dry_run=not args.apply)
    return launch.run("undo" if undo_ else "finalize", args, resolved, beam_argv, undo if undo_ else finalize)


@dataclass(frozen=True)
class Job:
    """What finalize and undo differ in: their targets, and what is decided of a target from what it is now.

    Targets of kinds that are not `chosen` were finalized earlier: they are looked at, so that the summary tells the
    state of the whole run, and not changed.
    """

    stage: str
    targets: Sequence[Key]
    chosen: Collection[str]
    decide: Callable[[Key, Now], Decision]


@launch.stage("finalize")
def finalize(session: Session) -> None:
    """Replace tars and set statuses of the run's videos."""
    context = session.context
    latest = verified(context)
    videos = planned(context)
    lines = journal.load(context.workspace.store, _journal(context))
    chosen = _chosen(session.args)
    kinds = chosen | {kind for kind, _ in lines}
    wanted = wanted_tars(context, latest, videos) if TAR in kinds else []
    wanted += wanted_statuses(context, videos) if STATUS in kinds else []
    by_key = {one.key: one for one in wanted}
    job = Job("finalize", list(by_key), chosen, lambda k, now: journal.decide(by_key[k], now, lines.get(k, [])))
    _carry_out(session, job)


@launch.stage("undo")
def undo(session: Session) -> None:
    """Restore what finalize replaced, where it still is what it wrote."""
    context = session.context
    if context.workspace.store.head(_journal(context)) is None:
        raise UserError(
            f"run {context.run.id!r} has no journal of finalize: there is nothing to undo before "
            f"`resplice finalize --run-id {context.run.id} --apply`"
        )
    lines = journal.load(context.workspace.store, _journal(context))
    chosen = _chosen(session.args)
    targets = [key for key in lines if key[0] in chosen]
    _carry_out(session, Job("undo", targets, chosen, lambda key, now: journal.decide_undo(now, lines[key])))


def _chosen(args: Any) -> set[str]:
    both = args.tars == args.statuses
    return {kind for kind, given in ((TAR, args.tars), (STATUS, args.statuses)) if given or both}


def _journal(context: Context) -> str:
    return f"{context.stage('finalize')}/journal.jsonl"


def _carry_out(session: Session, job: Job) -> None:
    """Decide about every target; without --apply show it, else journal the effects, have them and count."""
    context = session.context
    digests = Digests(context.workspace.store, f"{context.stage('finalize')}/digests.json")
    tars = [unit for kind, unit in job.targets if kind == TAR]
    _examine(session, job.stage, tars, digests)
    decided = _decide(context, job, digests)
    effects = [d.effect for (kind, _), d in decided.items() if d.effect and kind in job.chosen]
    if session.dry:
        _show(session, job, decided, effects)
        return
    if any(effect.line.kind == STATUS for effect in effects):
        Statuses(context.settings.database).check()  # before the first tar is replaced
    details: dict[Key, str] = {}
    if job.stage == "finalize":
        journal.append(context.workspace.store, _journal(context), [effect.line for effect in effects])
    if effects:
        details = _change(session, job.stage, effects, digests)
        decided = _decide(context, job, digests)
    digests.save()
    _finish(session, job, decided, details)


def _examine(session: Session, stage: str, tars: Sequence[str], digests: Digests) -> None:
    if not tars:
        return
    gauge = by_marks(session.context, stage, len(tars), "tar")
    with session.progress(gauge):
        with session.pipeline() as pipeline:
            build_examine(pipeline, session.context, stage, [(video, digests.of(video)) for video in tars])
        collect(session.context, stage, "examined")
    for record in gathered(session.context, stage, "examined"):
        digests.learn(record["unit"], record["token"], record["content"])


def _change(session: Session, stage: str, effects: Sequence[Effect], digests: Digests) -> dict[Key, str]:
    """Have the effects; return why a target was left, where a worker found out."""
    tars, statuses = split(effects)
    gauge = by_marks(session.context, stage, len(tars) + -(-len(statuses) // BATCH), "change")
    with session.progress(gauge):
        with session.pipeline() as pipeline:
            build(pipeline, session.context, stage, effects)
        collect(session.context, stage, "outcomes")
    details = {}
    for record in gathered(session.context, stage, "outcomes"):
        if record["kind"] == TAR:
            digests.learn(record["unit"], record["token"], record["content"])
        if record["detail"]:
            details[record["kind"], record["unit"]] = record["detail"]
    return details


def build_examine(pipeline: Any, context: Context, stage: str, tars: Sequence[tuple[str, dict[str, str]]]) -> Any:
    """Compose the pipeline that looks at tars: (video_id, {token: known digest}), one element each."""
    import apache_beam as beam

    from resplice.transforms.steps import HandBack, Work, source

    looks = spans.write(context, stage, "looks", tars, list)
    look = marked(context, stage, "look", looks.lines.each(Examine(context)))
    looked = pipeline | "Tars" >> source(looks.spans) | "Examine" >> Work(look, "Look")
    examined = Gather(context, stage, "examined", len(tars))
    return looked | "Records" >> beam.Map(asdict) | "Examined" >> HandBack(examined)


def build(pipeline: Any, context: Context, stage: str, effects: Sequence[Effect]) -> Any:
    """Compose the pipeline that changes the corpus: one element a tar, one a batch of statuses."""
    import apache_beam as beam

    from resplice.transforms.steps import HandBack, Work, source

    tars, batches = (
        spans.write(context, stage, name, (effect.to_json() for effect in some), Effect.from_json, per_span)
        for name, some, per_span in zip(("tars", "statuses"), split(effects), (1, BATCH), strict=True)
    )
    replace_ = marked(context, stage, "tar", tars.lines.each(ReplaceTars(context)))
    set_each = marked(context, stage, "statuses", batches.lines.all(SetStatuses(context)))
    replaced = pipeline | "Items" >> source(tars.spans) | "ReplaceTars" >> Work(replace_, "Tar")
    set_ = pipeline | "Batches" >> source(batches.spans) | "SetStatuses" >> Work(set_each, "Batch")
    return (
        (replaced, set_)
        | "Both" >> beam.Flatten()
        | "Records" >> beam.Map(asdict)
        | "Outcomes" >> HandBack(Gather(context, stage, "outcomes", len(effects)))
    )


def split(effects: Sequence[Effect]) -> tuple[list[Effect], list[Effect]]:
    """Return the effects on tars, and those on statuses."""
    tars = [effect for effect in effects if effect.line.kind == TAR]
    return tars, [effect for effect in effects if effect.line.kind == STATUS]


def _decide(context: Context, job: Job, digests: Digests) -> dict[Key, Decision]:
    """Look at every target and decide about it."""
    statuses = statuses_now(context, [unit for kind, unit in job.targets if kind == STATUS])
    decided = {}
    for key in job.targets:
        now = tar_now(context, key[1], digests.of(key[1])) if key[0] == TAR else statuses[key[1]]
        if key[0] == TAR:
            digests.learn(key[1], now.token, now.content)
        decided[key] = job.decide(key, now)
    return decided


def _show(session: Session, job: Job, decided: Mapping[Key, Decision], effects: Sequence[Effect]) -> None:
    """Say what --apply would do."""
    count = Counter(effect.line.kind for effect in effects)
    done = sum(decision.state == DONE for decision in decided.values())
    verb, and_ = ("restore", "and") if job.stage == "undo" else ("replace", "and set")
    session.say(f"{job.stage}: would {verb} {count[TAR]} tars {and_} {count[STATUS]} statuses; {done} are done already")
    for effect in effects[:_SHOWN]:
        sides = " -> ".join(_short(effect.line.kind, side) for side in (effect.found, effect.to))
        session.say(f"  {effect.line.kind:8} {effect.line.unit}: {sides}")
    if len(effects) > _SHOWN:
        session.say(f"  ... and {len(effects) - _SHOWN} more")
    _conflicts(session, {key: d.detail for key, d in decided.items() if d.state == CONFLICT})
    session.say("nothing was written; --apply does it")


def _short(kind: str, content: str | None) -> str:
    if content is None:
        return "none" if kind == TAR else "null"
    return content[:12] if kind == TAR else repr(content)


def _conflicts(session: Session, left: Mapping[Key, str]) -> None:
    """Say what was left as it is; it makes the exit code 4."""
    if left:
        session.exit_code = Exit.CONFLICT
        session.say(f"  {len(left)} left as they are ({Reason.CONFLICT}):")
    for (kind, unit), detail in list(left.items())[:_SHOWN]:
        session.say(f"  {kind:8} {unit}: {detail}")


def _finish(session: Session, job: Job, decided: Mapping[Key, Decision], details: Mapping[Key, str]) -> None:
    """Count the videos by what their targets are now."""
    states: dict[str, set[str]] = defaultdict(set)
    left: dict[Key, str] = {}
    for key, decision in decided.items():
        if decision.state == TO_DO and key[0] not in job.chosen:
            continue
        states[key[1]].add(decision.state)
        if decision.state != DONE:
            left[key] = details.get(key) or decision.detail or "it was changed meanwhile; run the same command again"
    refused = [
        session.refused(job.stage, unit, Refusal(Reason.CONFLICT, f"{kind}: {detail}"))
        for (kind, unit), detail in left.items()
    ]
    done = sum(found == {DONE} for found in states.values())
    summary = session.finish(job.stage, len(states), done, 0, refused)
    session.say(f"{job.stage}: {summary.done} done, {summary.refused} refused of {summary.total} videos")
    _conflicts(session, left)

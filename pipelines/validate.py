"""Validate the planned videos segment by segment, each in its repaired tar, or in the original where that is right.

    resplice validate --run-id recovery-a
    resplice validate --run-id recovery-a --export-work work --parts 8
    resplice validate --run-id recovery-a --from results
    resplice validate --run-id recovery-a --rejudge --set validate.signal.rate_low=2
    resplice validate --run-id recovery-a --sweep rate_low=1:10:1

Reads   repaired and original tars, rows of the planned videos.
Writes  validate/shards/*.parquet, one row a segment, with their sidecars.
Skips   videos done with the same fingerprint, but for their `error` segments.
Refuses tar_missing, tar_unreadable, drifted (--from: not_planned, duplicate_result). A segment whose judge died is a
        result with the status error: crashed, timeout, out_of_memory, engine_failed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from resplice.io import ledger, shards, sidecars
from resplice.io.context import Context
from resplice.io.engines import ChainSpec, chain_of
from resplice.io.judging import Judge, refused_in, shard_key
from resplice.io.pool import borrowed
from resplice.io.progress import by_ledger
from resplice.io.store import mapped
from resplice.io.work import Item, items, listed, planned
from resplice.pipelines import launch
from resplice.pipelines.config import Resolved
from resplice.pipelines.launch import Session
from resplice.pipelines.repair import units_of
from resplice.transforms.checkup import needed_mb
from resplice.transforms.kinds import KINDS
from resplice.transforms.records import Refusal, UserError


def run(args: Any, resolved: Resolved, beam_argv: Sequence[str]) -> int:
    """Run the command."""
    _check_one_of(args)
    if args.sweep:
        from resplice.pipelines import rejudge

        return rejudge.sweep(launch.context(args, resolved), args.sweep)
    return launch.run("validate", args, resolved, beam_argv, job)


def _check_one_of(args: Any) -> None:
    """Raise UserError unless at most one flag says who judges."""
    flags = ("export_work", "from_", "rejudge", "sweep")
    given = ["--" + name.rstrip("_").replace("_", "-") for name in flags if getattr(args, name)]
    if {"--export-work", "--from"} == set(given):
        raise UserError("--export-work writes work for others, --from takes their results: give one of them")
    if len(given) > 1:
        raise UserError(f"{' and '.join(given)} do different things: give one of them")
    if args.parts and not args.export_work:
        raise UserError("--parts divides the lists of --export-work: give that too, or leave it out")


def job(session: Session) -> None:
    """Validate by the engines, by others (write the work lists, or take the results), or again by stored measures."""
    from resplice.pipelines import exchange, rejudge

    if session.args.export_work:
        exchange.export_work(session)
    elif session.args.rejudge:
        rejudge.rejudge(session)
    elif session.args.from_:
        exchange.take(session)
    else:
        validate(session)


@launch.stage("validate")
def validate(session: Session, only: Sequence[str] | None = None) -> None:
    """Validate the planned videos that repair did not refuse; `only` restricts the work to some (canary)."""
    todo = open_items(session, only)
    chain, versions = engines(session)
    held = {video for item in todo for video in item.held}
    gauge = by_ledger(session.context, "validate", set(units_of(todo)) - held)
    with session.progress(gauge), session.pipeline() as pipeline:
        build(pipeline, session.context, todo, chain, versions)
    if only is None:
        finish(session, todo)


def open_items(session: Session, only: Sequence[str] | None = None) -> list[Item]:
    """Return the work items without the videos that repair refused; their names depend on the plan alone."""
    context = session.context
    repaired = ledger.load(context.workspace.store, context.stage("repair"))
    gone = {unit for unit, entry in repaired.items() if entry.outcome == "refused"}
    if only is None:
        gone = set(refused_in(context, "repair"))
    packed = items(context, "validate", planned(context))
    kept = [item.restricted(set(units_of([item])) - gone) for item in packed]
    if only is None:
        return [item for item in kept if item.videos]
    held = [replace(item, held=frozenset(units_of([item])) - set(only)) for item in kept]
    return [item for item in held if len(item.held) < len(item.videos)]


def engines(session: Session) -> tuple[ChainSpec, dict[str, str]]:
    """Return the engine chain and the version of each engine; missing ones are told, and skipped."""
    settings = session.settings
    chain, skipped = chain_of(settings.validate)
    tell_skipped(session, skipped)
    return chain, versions_of(session, chain)


def tell_skipped(session: Session, skipped: Sequence[str]) -> None:
    """Say which engines are missing: nothing was judged by them, and nothing passed by them."""
    for name in skipped:
        extra = f"pip install 'resplice[{name}]'" if name in KINDS else "install the package that registers it"
        session.say(f"validate: engine {name} is not installed: skipped ({extra})")


def versions_of(session: Session, chain: ChainSpec) -> dict[str, str]:
    """Return the version of each engine of a chain, loaded where it can be killed."""
    run_ = session.settings.run
    with borrowed(run_.timeout_s, run_.memory_mb) as sandbox:
        try:
            return sandbox.call("resplice.io.engines:versions", chain)  # type: ignore[no-any-return]
        except Refusal as refusal:
            raise UserError(f"an engine of {', '.join(chain.names)} cannot be loaded: {refusal}") from None


def build(pipeline: Any, context: Context, todo: Sequence[Item], chain: ChainSpec, versions: Mapping[str, str]) -> Any:
    """Compose the pipeline: every item is validated on its own."""
    from resplice.transforms.steps import Work, source

    items_, memory = listed(context, "validate", todo), needed_mb(1, context.settings.run.memory_mb)
    judge = items_.lines.each(Judge(context, chain, versions))
    return pipeline | "Items" >> source(items_.spans, memory) | "Validate" >> Work(judge, "Judge", memory)


def finish(session: Session, todo: Sequence[Item], further: Sequence[Any] = ()) -> None:
    """Remove shards of former plans, count the videos in the shards, take the refusals from the ledger, balance."""
    context = session.context
    expected = remove_strays(context, todo)
    units = units_of(todo)
    refused = session.refusals_of("validate", units)
    done, statuses = _results(context, expected)
    summary = session.finish("validate", len(units), len(done), 0, [*refused, *further])
    told = ", ".join(f"{count} {status}" for status, count in sorted(statuses.items())) or "none"
    session.say(f"validate: {summary.done} done, {summary.refused} refused of {len(units)} videos; segments: {told}")
    for reason, count in summary.by_reason.items():
        session.say(f"  {reason:20} {count:>8}")


def remove_strays(context: Context, todo: Sequence[Item]) -> set[str]:
    """Remove the shards of former plans; return the keys of those that belong to this one."""
    store = context.workspace.store
    expected = {shard_key(context, item) for item in todo}
    for head in list(store.list(f"{context.stage('validate')}/shards/")):
        if head.key.removesuffix(sidecars.SUFFIX) not in expected:
            store.delete(head.key)
    return expected


def _results(context: Context, expected: set[str]) -> tuple[set[str], dict[str, int]]:
    """Return the videos that the shards hold, and how many segments have each status."""
    store = context.workspace.store
    videos: set[str] = set()
    statuses: dict[str, int] = {}
    there = {head.key for head in store.list(f"{context.stage('validate')}/shards/")}

    def rows(key: str) -> list[dict[str, str]]:
        return shards.open_file(store, key).read(columns=["video_id", "status"]).to_pylist()  # type: ignore[no-any-return]

    for found in mapped(store, rows, sorted(key for key in expected & there if key + sidecars.SUFFIX in there)):
        for row in found:
            videos.add(row["video_id"])
            statuses[row["status"]] = statuses.get(row["status"], 0) + 1
    return videos, statuses

"""Rebuild the wrong tars of planned videos from the raw audio and the rows; pack new videos the same way.

    resplice repair --run-id recovery-a --workers 4
    resplice pack --run-id new-a --videos new.txt

Reads   the plan, raw tars, rows of the planned videos.
Writes  repair/transcribed/{video_id}_transcribed.tar, {video_id}.index.json, the sidecar (pack: pack/transcribed/).
Skips   videos whose tar is right, and those done with the same fingerprint.
Refuses raw_missing, raw_unreadable, drifted, no_rows, bad_name, name_collision, segment_undecodable, segment_mismatch,
        duration_mismatch, crashed, timeout, out_of_memory (pack: also exists).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from resplice.io import sidecars
from resplice.io.context import Context
from resplice.io.pool import borrowed
from resplice.io.progress import by_ledger
from resplice.io.rebuild import Rebuild, index_key
from resplice.io.refusals import Refused
from resplice.io.work import Item, Planned, items, listed, planned
from resplice.pipelines import checks, launch
from resplice.pipelines.config import Resolved
from resplice.pipelines.launch import Session
from resplice.transforms.checkup import needed_mb
from resplice.transforms.records import Reason, Refusal, UserError, valid_video_id
from resplice.transforms.repack import tar_name


def run(args: Any, resolved: Resolved, beam_argv: Sequence[str]) -> int:
    """Run the command: repair, or pack."""
    pack_ = getattr(args, "videos", None) is not None
    return launch.run("pack" if pack_ else "repair", args, resolved, beam_argv, pack if pack_ else repair)


@launch.stage("repair")
def repair(session: Session, only: Sequence[str] | None = None) -> None:
    """Repair the planned videos whose tar is wrong; `only` restricts the work to some of them (canary)."""
    videos = planned(session.context)
    wrong = [video for video in videos if video.wrong_tar]
    work(session, "repair", items(session.context, "repair", wrong), only)
    if only is None:
        finish(session, "repair", len(videos), [video.video_id for video in wrong], len(videos) - len(wrong))


def work(session: Session, stage: str, todo: Sequence[Item], only: Sequence[str] | None = None) -> None:
    """Rebuild the items of a stage."""
    if only is not None:
        todo = [item for item in (item.restricted(only) for item in todo) if item.videos]
    gauge = by_ledger(session.context, stage, units_of(todo))
    with session.progress(gauge), session.pipeline() as pipeline:
        build(pipeline, session.context, stage, todo)


def units_of(todo: Sequence[Item]) -> list[str]:
    """Return the ids of all videos of some items."""
    return [video.video_id for item in todo for video in item.videos]


def build(pipeline: Any, context: Context, stage: str, todo: Sequence[Item]) -> Any:
    """Compose the pipeline: every item is rebuilt on its own."""
    from resplice.transforms.steps import Work, source

    rebuild = Rebuild(context, stage, plugins(context), frozen=stage == "repair")
    items_, memory = listed(context, stage, todo), needed_mb(1, context.settings.run.memory_mb)
    work_ = Work(items_.lines.each(rebuild), "Video", memory)
    return pipeline | "Items" >> source(items_.spans, memory) | "Rebuild" >> work_


def plugins(context: Context) -> dict[str, str]:
    """Return the version of each plug-in of the repair, asked in a killable worker."""
    settings = context.settings
    names = (settings.polish.splitter, settings.repair.json)
    with borrowed(settings.run.timeout_s, settings.run.memory_mb) as sandbox:
        try:
            return {name: sandbox.call("resplice.io.cut:version", name) for name in names}
        except Refusal as refusal:
            raise UserError(f"a plug-in cannot be loaded ({' or '.join(names)}): {refusal}") from None


def finish(
    session: Session, stage: str, total: int, units: Sequence[str], skipped: int, further: Sequence[Refused] = ()
) -> None:
    """Count the artifacts of the units that are not refused, take the refusals from the ledger, balance."""
    store, key = session.context.workspace.store, session.context.stage(stage)
    folder = f"{key}/transcribed/"
    there = {head.key.removeprefix(folder) for head in store.list(folder)}
    refused = [*session.refusals_of(stage, units), *further]
    names = [tar_name(unit) for unit in set(units) - {line.unit for line in refused}]
    done = sum({name, index_key(name), name + sidecars.SUFFIX} <= there for name in names)
    summary = session.finish(stage, total, done, skipped, refused)
    session.say(f"{stage}: {summary.done} done, {summary.skipped} need nothing, {summary.refused} refused of {total}")
    for reason, count in summary.by_reason.items():
        session.say(f"  {reason:20} {count:>8}")


@launch.stage("pack")
def pack(session: Session) -> None:
    """Pack new videos: the same rebuild, without plan or baseline."""
    context = session.context
    ids = sorted(set(checks.read_ids(session.args.videos)))
    refused = []
    videos = []
    for id_ in ids:
        if not valid_video_id(id_):
            refused.append(session.refused("pack", id_, Refusal(Reason.BAD_NAME, f"video_id {id_!r}")))
        elif context.transcribed.store.head(tar_name(id_)) is not None:
            refused.append(session.refused("pack", id_, Refusal(Reason.EXISTS, f"{tar_name(id_)} is in the corpus")))
        else:
            videos.append(Planned(id_, True, 0, 0.0, None, None, "", None))
    work(session, "pack", items(context, "pack", videos))
    finish(session, "pack", len(ids), [video.video_id for video in videos], 0, refused)

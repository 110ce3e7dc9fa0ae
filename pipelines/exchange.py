"""Validation by others: `validate --export-work DIR [--parts N]` and `validate --from URL`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any

from resplice.io import ledger, shards
from resplice.io.context import Context
from resplice.io.foreign import ByItem, Describe, ReadGiven, Take
from resplice.io.gather import Apart, Gather, collect, gathered
from resplice.io.progress import by_marks, marked
from resplice.io.store import Place, Store
from resplice.io.work import Item, listed
from resplice.pipelines import launch
from resplice.pipelines.launch import Session
from resplice.pipelines.validate import open_items, remove_strays
from resplice.transforms import provenance
from resplice.transforms.records import Reason, Refusal, UserError

_LIST = re.compile(r"work-([0-9]{5})\.jsonl")


@launch.stage("validate")
def export_work(session: Session) -> None:
    """Write the planned videos as work lists: tar URL and digest, members and stems, one video a line."""
    todo = open_items(session)
    gauge = by_marks(session.context, "validate", len(todo))
    with session.progress(gauge):
        with session.pipeline() as pipeline:
            build_export(pipeline, session.context, todo)
        collect(session.context, "validate", "work")
    records = gathered(session.context, "validate", "work")
    work = sorted((r for r in records if "refused" not in r), key=lambda record: str(record["video_id"]))
    folder, parts = Path(session.args.export_work), session.args.parts or 1
    store = Place(str(folder), session.context.scratch).store
    for part in range(parts):
        store.replace(f"work-{part:05d}.jsonl", provenance.jsonl(work[part::parts]), None)
    for head in list(store.list("work-")):
        if (former := _LIST.fullmatch(head.key)) and int(former[1]) >= parts:
            store.delete(head.key)  # of a former export into more parts
    session.say(f"validate: {len(work)} videos in {parts} work lists in {folder}, {len(records) - len(work)} refused")
    for record in records:
        if "refused" in record:
            session.say(f"  {record['video_id']}: {record['refused']}: {record['detail']}")


def build_export(pipeline: Any, context: Context, todo: Sequence[Item]) -> Any:
    """Compose the pipeline of the work lists."""
    from resplice.transforms.steps import Work, source

    items_ = listed(context, "validate", todo)
    describe = Apart(items_.lines.each(Describe(context)), Gather(context, "validate", "work"))
    return (
        pipeline
        | "Items" >> source(items_.spans)
        | "Describe" >> Work(marked(context, "validate", "item", describe), "Video")
    )


@launch.stage("validate")
def take(session: Session) -> None:
    """Take the shards that others wrote in place of the built-in engines; the unit of the summary is the result row."""
    context, place = session.context, Place(session.args.from_, options=session.settings.store)
    keys = sorted(head.key for head in place.store.list() if head.key.endswith(".parquet"))
    if not keys:
        raise UserError(f"--from {place.url}: there is no .parquet file below it")
    todo = open_items(session)
    for head in list(context.workspace.store.list(ledger.folder(context.stage("validate")))):
        context.workspace.store.delete(head.key)  # what engines achieved before does not stand any more
    gauge = by_marks(context, "validate", len(keys) + len(todo))
    with session.progress(gauge):
        with session.pipeline() as pipeline:
            build_take(pipeline, context, todo, place, keys)
        collect(context, "validate", "not_taken")
    written = remove_strays(context, todo)
    refused = [
        session.refused("validate", r["video_id"], Refusal(Reason(r["reason"]), r["detail"], r["segment_file"]))
        for r in gathered(context, "validate", "not_taken")
    ]
    total = sum(_rows(place.store, key) for key in keys)
    done = sum(_rows(context.workspace.store, key) for key in written)
    summary = session.finish("validate", total, done, 0, refused, unit="result")
    session.say(f"validate: {summary.done} results taken, {summary.refused} refused of {total}")
    for reason, count in summary.by_reason.items():
        session.say(f"  {reason:20} {count:>8}")


def _rows(store: Store, key: str) -> int:
    return shards.open_file(store, key).metadata.num_rows if store.head(key) is not None else 0


def build_take(pipeline: Any, context: Context, todo: Sequence[Item], place: Place, keys: Sequence[str]) -> Any:
    """Compose the pipeline: the given rows join the item of their video."""
    import apache_beam as beam

    from resplice.transforms.steps import HandBack, JoinByKey, Work, source

    items_ = listed(context, "validate", todo)
    marks = partial(marked, context, "validate")
    given = (
        pipeline
        | "Given" >> source(list(enumerate(keys)))
        | "ReadGiven" >> Work(marks("file", ReadGiven(place), itemgetter(0)), "Read")
        | "ByItem" >> beam.Map(ByItem(items_))
    )
    asked = pipeline | "Items" >> source(list(enumerate(items_.spans)))
    refused = {"given": given, "items": asked} | "Take" >> JoinByKey(
        marks("item", Take(context, items_.lines, keys), itemgetter(0)), "Check"
    )
    return refused | "NotTaken" >> HandBack(Gather(context, "validate", "not_taken"))

"""Freeze what is: videos, rows, tar headers and historical results.

    resplice baseline --run-id recovery-a

Reads   both tar folders (headers only), the rows and videos tables, the historical shards (one column).
Writes  baseline/baseline.json, videos.parquet, rows/*.parquet, and an index for the later stages.
Skips   everything, once the baseline of the run is finished (`--refresh` freezes the world anew).
Refuses nothing: what is missing or unreadable is a state of its video.
"""

from __future__ import annotations

import errno
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from resplice.io import documents, listing, live, probe, refusals, shards, snapshots
from resplice.io.context import Context
from resplice.io.former import earlier
from resplice.io.freezing import Freeze
from resplice.io.inventory import VIDEO_SCHEMA, Inventory
from resplice.io.progress import by_marks, marked
from resplice.io.tarstate import RAW, TRANSCRIBED
from resplice.pipelines import launch
from resplice.pipelines.config import Resolved
from resplice.pipelines.launch import Session
from resplice.transforms import provenance
from resplice.transforms.affected import MISSING
from resplice.transforms.provenance import shown
from resplice.transforms.records import SnapshotLost, UserError
from resplice.transforms.replace import Shard

SNAPSHOTS = 4
"""States of the database that a baseline tries to read, one after the other, before it gives up."""


def run(args: Any, resolved: Resolved, beam_argv: Sequence[str]) -> int:
    """Run the command."""
    return launch.run(
        "baseline", args, resolved, beam_argv, lambda session: freeze(session, args.refresh), check_places
    )


@launch.stage("baseline")
def freeze(session: Session, refresh: bool = False) -> None:
    """Freeze the baseline of the run, unless it is frozen already."""
    context = session.context
    store, stage = context.workspace.store, context.stage("baseline")
    if store.head(f"{stage}/baseline.json") is not None and not refresh:
        session.note(f"baseline: frozen for run {context.run.id} already (--refresh freezes the world anew)")
        _say(session, documents.load(store, f"{stage}/baseline.json"))
        return
    if refresh:  # else there is none, or another process of this run has just finished it
        store.delete(f"{stage}/baseline.json")
        store.delete(f"{context.stage('verify')}/coverage.json")  # it was of the world before
    ranges = _read(session)
    _remove_former(context, ranges)
    facts = _assemble(context, ranges)
    session.finish("baseline", facts["videos"], facts["videos"], 0, [])
    store.replace(f"{stage}/baseline.json", provenance.document(facts), None)
    _say(session, facts)


def _read(session: Session) -> int:
    """Read the corpus, all rows in one state of the database, and return the number of ranges.

    Where that state is lost, all is read again in a new one: a baseline never mixes two.
    """
    for left in reversed(range(SNAPSHOTS)):
        try:
            with session.context.rows.frozen() as snapshot:
                return _read_state(session, snapshot)
        except SnapshotLost:
            if not left:
                raise
            session.note("baseline: the database lost the state that was being read; reading all of a new one")
    raise AssertionError("the last loss is raised")


def _read_state(session: Session, snapshot: str) -> int:
    context = session.context
    session.note("baseline: listing tars, rows and historical results")
    listed = f"{context.passing('baseline')}/listed.arrow"
    frozen, former = divide(context, listed, snapshot), earlier(context)
    refusals.put(
        context.workspace.store, f"{context.stage('baseline')}/world.json", provenance.document(asdict(frozen))
    )
    ranges = len(frozen.bounds) + 1
    session.note(f"baseline: reading the corpus in {ranges} ranges, {len(frozen.history)} historical shards")
    parts = 2 * ranges + len(live.groups(frozen.history))
    with session.progress(by_marks(context, "baseline", parts)), session.pipeline() as pipeline:
        build(pipeline, context, frozen, Inventory(context, frozen.bounds, listed, snapshot, former))
    return ranges


@dataclass(frozen=True)
class World:
    """What the baseline froze besides rows and tars: the ranges of ids, the historical shards, and the version of the
    database before its rows were read ("": it has none).
    """

    bounds: tuple[str, ...]
    history: tuple[Shard, ...]
    rows_version: str = ""


def load_world(context: Context) -> World:
    """Return what the baseline of the run froze."""
    value = launch.read_json(context, "baseline", "world.json")
    return World(tuple(value["bounds"]), tuple(map(Shard.from_json, value["history"])), value["rows_version"])


def build(pipeline: Any, context: Context, frozen: World, inventory: Inventory) -> Any:
    """Compose the pipeline: inventory the ranges, count the historical rows, join both by range."""
    from resplice.transforms.steps import JoinByKey, Work, source

    marks, count = partial(marked, context, "baseline"), live.CountVideos(context, "baseline", frozen.bounds)
    history = live.listed(context, "baseline", frozen.history)
    ranges = (
        pipeline
        | "Ranges" >> source(range(len(frozen.bounds) + 1))
        | "Inventory" >> Work(marks("range", inventory), "Read")
    )
    counts = (
        pipeline
        | "HistoryShards" >> source(history.spans)
        | "CountHistory" >> Work(marks("history", history.lines.each(count)), "Count")
    )
    return {"range": ranges, "history": counts} | "Freeze" >> JoinByKey(
        marks("freeze", Freeze(context), itemgetter(0)), "Write"
    )


def check_places(context: Context) -> None:
    """Raise UserError unless the corpus is there, and the workspace can hold it."""
    context.rows.check()
    if not context.scratch and context.workspace.local:
        check_case(Path(context.workspace.url))


def check_case(folder: Path) -> None:
    """Raise UserError if the folder's file system does not tell `a` from `A`: two videos would share one file."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tells = probe.tells_case(folder)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise UserError(f"corpus.workspace: {folder} cannot be written: {error.strerror}; name another") from None
    if not tells:
        raise UserError(f"corpus.workspace: {folder} is on a file system that does not tell `a` from `A`; use another")


def divide(context: Context, listed: str, snapshot: str = "") -> World:
    """List the corpus, its rows in one state of the database, and divide its ids into ranges: what lies in each is
    written as the object `listed`.
    """
    rows = context.rows_at(snapshot)
    version = rows.version
    counts = {shown(video): count for video, count in rows.counts()}
    statuses = {shown(video): status for video, status in rows.statuses().items()}
    places = {RAW: context.raw.store, TRANSCRIBED: context.transcribed.store}
    sides = {kind: listing.tars(place, listing.SUFFIXES[kind]) for kind, place in places.items()}
    found = listing.joined(counts, statuses, sides)
    bounds = listing.divided(found)
    listing.write(context.workspace.store, listed, found, bounds)
    history = snapshots.found_history(context.validation.store, context.settings.history.status_column)
    return World(bounds, tuple(history), version)


def _remove_former(context: Context, ranges: int) -> None:
    """Remove what a former baseline of the run, with more ranges, has left."""
    store, stage = context.workspace.store, context.stage("baseline")
    for part in ("rows", "index"):
        for head in list(store.list(f"{stage}/{part}/")):
            if int(head.key.removeprefix(f"{stage}/{part}/")[:5]) >= ranges:
                store.delete(head.key)


def _assemble(context: Context, ranges: int) -> dict[str, Any]:
    """Join the videos of all ranges into one file, in order, and add them up."""
    store, stage = context.workspace.store, context.stage("baseline")
    totals: Counter[str] = Counter()
    statuses: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "videos.parquet"
        metadata = VIDEO_SCHEMA.with_metadata(context.run.metadata())
        with pq.ParquetWriter(path, metadata, compression="zstd", write_page_checksum=True) as writer:
            for index in range(ranges):
                table = shards.open_file(store, f"{stage}/index/{index:05d}-videos.parquet").read()
                writer.write_table(table.replace_schema_metadata(context.run.metadata()))
                _add(totals, table)
                statuses.update(dict(live.counted(pc.fill_null(table["validation_status"], ""))))
        store.replace(f"{stage}/videos.parquet", path, None)
    names = ("videos", "rows", "split_rows", "raw_tars", "transcribed_tars", "tar_segments", "tar_transcriptions",
             "historical_rows")  # fmt: skip
    return {"run_id": context.run.id, "videos_by_status": dict(sorted(statuses.items())),
            **{name: totals[name] for name in names}}  # fmt: skip


def _add(totals: Counter[str], table: pa.Table) -> None:
    totals["videos"] += len(table)
    for name in ("rows", "split_rows", "tar_segments", "tar_transcriptions", "historical_rows"):
        totals[name] += pc.sum(table[name]).as_py() or 0
    for kind in (RAW, TRANSCRIBED):
        totals[f"{kind}_tars"] += pc.sum(pc.not_equal(table[f"{kind}_tar"], MISSING)).as_py() or 0


def _say(session: Session, facts: dict[str, Any]) -> None:
    session.say(
        f"baseline {facts['run_id']}: {facts['videos']} videos, "
        f"{facts['rows']} rows ({facts['split_rows']} of splits), "
        f"{facts['raw_tars']} raw and {facts['transcribed_tars']} transcribed tars, "
        f"{facts['historical_rows']} historical results"
    )

"""The work of a run: its planned videos with what the baseline froze of them, packed into items."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from resplice.io import documents, ledger, shards, snapshots, spans
from resplice.io.context import Context
from resplice.io.ledger import Entry
from resplice.io.spans import Listing
from resplice.transforms import provenance
from resplice.transforms.affected import WRONG_TAR, work_items
from resplice.transforms.records import Exit, UserError
from resplice.transforms.replace import Tar


@dataclass(frozen=True)
class Planned:
    """One planned video: what the baseline froze of it, and the repaired tar that the base snapshot names."""

    video_id: str
    wrong_tar: bool
    rows: int
    seconds: float
    raw_token: str | None
    transcribed_token: str | None
    rows_digest: str
    validation_status: str | None
    repaired: Tar | None = None

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Planned:
        """Make a planned video from what JSON says of it."""
        return cls(**{**value, "repaired": value["repaired"] and Tar(**value["repaired"])})


@dataclass(frozen=True)
class Item:
    """One work item: some videos of the plan, and the latest outcome of each, if it has one.

    Those in `held` are not worked on now; what an earlier process made of them is carried along.
    """

    name: str
    videos: tuple[Planned, ...]
    before: tuple[Entry | None, ...]
    held: frozenset[str] = frozenset()

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Item:
        """Make an item from what JSON says of it."""
        before = tuple(entry and Entry(**entry) for entry in value["before"])
        return cls(value["name"], tuple(map(Planned.from_json, value["videos"])), before, frozenset(value["held"]))

    def restricted(self, only: Collection[str]) -> Item:
        """Return the item with only some of its videos."""
        pairs = [(v, b) for v, b in zip(self.videos, self.before, strict=True) if v.video_id in only]
        return replace(self, videos=tuple(v for v, _ in pairs), before=tuple(b for _, b in pairs))


def planned_ids(context: Context) -> list[str]:
    """Return the ids of the planned videos, sorted."""
    return context.workspace.store.read(f"{context.stage('plan')}/affected.txt").decode().splitlines()


def planned(context: Context) -> list[Planned]:
    """Return the planned videos, sorted. UserError (exit 4) if affected.txt is not the one of plan.json."""
    store, plan, baseline = context.workspace.store, context.stage("plan"), context.stage("baseline")
    facts = documents.load(store, f"{plan}/plan.json")
    text = store.read(f"{plan}/affected.txt")
    if provenance.sha256(text) != facts["affected_sha256"]:
        raise UserError(
            f"{plan}/affected.txt has the digest {provenance.sha256(text)}, but plan.json says "
            f"{facts['affected_sha256']}: restore it, or plan again with another --run-id",
            Exit.CONFLICT,
        )
    ids = text.decode().splitlines()
    repaired = snapshots.load(store, facts["snapshot"]).videos
    affected = {row["video_id"]: row for row in shards.open_file(store, f"{plan}/affected.parquet").read().to_pylist()}
    frozen = {row["video_id"]: row for row in _rows_of(shards.open_file(store, f"{baseline}/videos.parquet"), ids)}
    return [
        Planned(
            video_id=video,
            wrong_tar=bool(WRONG_TAR & set(affected[video]["reasons"])),
            rows=frozen[video]["rows"],
            seconds=affected[video]["audio_s"] or 0.0,
            raw_token=frozen[video]["raw_token"],
            transcribed_token=frozen[video]["transcribed_token"],
            rows_digest=frozen[video]["rows_digest"],
            validation_status=frozen[video]["validation_status"],
            repaired=repaired[video].tar if video in repaired else None,
        )
        for video in ids
    ]


def _rows_of(file: pa.parquet.ParquetFile, ids: Sequence[str]) -> Iterable[dict[str, Any]]:
    wanted = pa.array(ids, pa.string())
    for batch in file.iter_batches():
        yield from batch.filter(pc.is_in(batch.column("video_id"), value_set=wanted)).to_pylist()


def items(context: Context, stage: str, videos: Collection[Planned]) -> list[Item]:
    """Pack videos into work items, each with the latest outcomes of its videos in a stage."""
    before = ledger.load(context.workspace.store, context.stage(stage))
    by_id = {video.video_id: video for video in videos}
    packed = []
    for number, ids in enumerate(work_items({video.video_id: video.seconds for video in videos})):
        name = f"{number:05d}-{provenance.sha256(chr(10).join(ids).encode())[:8]}"
        packed.append(Item(name, tuple(by_id[i] for i in ids), tuple(before.get(i) for i in ids)))
    return packed


def listed(context: Context, stage: str, todo: Iterable[Item]) -> Listing[Item]:
    """Write the work items of a stage where its workers read them, one a span."""
    return spans.write(context, stage, "items", todo, Item.from_json)

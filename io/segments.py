"""The segments of videos as something to embed: found in the headers of their tars, and read out of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from resplice.io import live, snapshots, work
from resplice.io.context import Context
from resplice.io.digests import Digests
from resplice.io.judging import tar_of
from resplice.io.store import Changed, Place, mapped
from resplice.io.tarstate import TRANSCRIBED, OpenTar, opened
from resplice.transforms import provenance
from resplice.transforms.affected import UNREADABLE
from resplice.transforms.embedding import Unit
from resplice.transforms.records import Damage, Reason, Refusal, UserError, valid_video_id
from resplice.transforms.repack import tar_name

_Where = tuple[str, str]


def of_run(context: Context, run_id: str) -> dict[str, _Where]:
    """Return the tar of each video that a run planned: the one that it repaired, or the one that was right.

    UserError if there is no such run.
    """
    of = replace(context, run=replace(context.run, id=run_id))
    if context.workspace.store.head(f"{of.stage('plan')}/plan.json") is None:
        raise UserError(
            f"--of-run {run_id}: there is no plan of this run in {context.workspace.url}; make it: resplice plan "
            f"--run-id {run_id}"
        )
    return {video.video_id: _named(of, *tar_of(of, video)) for video in work.planned(of)}


def valid(ids: Iterable[str]) -> list[str]:
    """Return video ids. UserError for what is none."""
    found = list(ids)
    if wrong := next((video for video in found if not valid_video_id(video)), None):
        raise UserError(f"--videos: {wrong!r} is no video id")
    return found


def of_videos(context: Context, ids: Iterable[str]) -> dict[str, _Where]:
    """Return the tar of each named video as the corpus has it now: of the latest snapshot, or the transcribed one."""
    repaired = snapshots.latest(context.workspace.store).videos
    found = {}
    for video in valid(ids):
        tar = repaired[video].tar if video in repaired else None
        found[video] = ("workspace", tar.key) if tar else ("transcribed", tar_name(video))
    return found


def _named(context: Context, place: Place, key: str) -> _Where:
    return ("workspace" if place == context.workspace else "transcribed"), key


def units(context: Context, tars: Mapping[str, _Where], memory: Digests) -> list[Unit]:
    """Return the segments of videos, each with the digest of its FLAC; what has the tar's token of before is not read.

    A video without a tar that can be read is one unit by itself, which will be refused.
    """
    store = context.transcribed.store
    found = mapped(store, lambda video: _units(context, video, tars[video], memory), sorted(tars))
    return [unit for of_video in found for unit in of_video]


def _units(context: Context, video: str, where: _Where, memory: Digests) -> list[Unit]:
    path = ":".join(where)
    with opened(_place(context, where[0]).store, where[1], video, TRANSCRIBED) as tar:
        if tar is None or tar.state.state == UNREADABLE or not tar.state.content.flacs:
            return [Unit(video, path, video_id=video)]
        made = []
        for stem, member in sorted(tar.state.content.flacs.items()):
            name = f"{video}/{stem}"
            sha256 = memory.of(name).get(tar.token) or tar.member_digest(tar.members[member])
            memory.learn(name, tar.token, sha256)
            made.append(Unit(name, path, sha256, tar.token, tar.members[member].size, video, stem))
        return made


def _place(context: Context, root: str) -> Place:
    return context.workspace if root == "workspace" else context.transcribed


def tar_at(context: Context, path: str) -> tuple[Place, str]:
    """Return the root and the key of the tar that a unit of a video names."""
    root, _, key = path.partition(":")
    return _place(context, root), key


def with_results(context: Context, found: Iterable[Unit]) -> list[Unit]:
    """Return segments with `status` and `reasons` of their live results; without one both are null."""
    units_ = list(found)
    wanted = pa.array(sorted({unit.video_id for unit in units_}), pa.string())
    results: dict[tuple[str, str | None], dict[str, Any]] = {}
    history = context.settings.history.status_column
    for shard in snapshots.live(context.workspace.store, context.validation.store, history):
        table = live.read_shard(context, shard)
        for row in table.filter(pc.is_in(table.column("video_id"), value_set=wanted)).to_pylist():
            reasons = row["reasons"].split(",") if row["reasons"] else []
            results[row["video_id"], _stem(row["segment_file"])] = {"status": row["status"], "reasons": reasons}
    none = {"status": None, "reasons": None}
    return [replace(unit, result=results.get((unit.video_id, unit.segment), none)) for unit in units_]


def _stem(name: str | None) -> str | None:
    return name.removesuffix(".flac") if name else name


@dataclass(frozen=True)
class Tars:
    """The tars of a run's videos, for workers."""

    context: Context

    @contextmanager
    def opened(self) -> Iterator[Reading]:
        """Give a reader of segments; it keeps the last tar open."""
        with ExitStack() as stack:
            yield Reading(self.context, stack)


class Reading:
    """Reads segments one after the other."""

    def __init__(self, context: Context, stack: ExitStack) -> None:
        self._context = context
        self._stack = stack
        self._path = ""
        self._tar: OpenTar | None = None

    def read(self, unit: Unit) -> tuple[str, bytes]:
        """Return the FLAC of a segment, after its digest. Refusal `missing` or `undecodable`."""
        try:
            tar = self._open(unit)
            member = tar.state.content.flacs.get(unit.segment)
            if tar.state.state == UNREADABLE:
                raise Refusal(Reason.UNDECODABLE, tar.state.detail)
            if member is None:
                raise Refusal(Reason.MISSING, f"{unit.path} has no segment {unit.segment!r}")
            data = tar.read(tar.members[member])
        except (Changed, Damage) as error:
            raise Refusal(Reason.UNDECODABLE, f"{unit.path}: {error}") from None
        return provenance.sha256(data), data

    def _open(self, unit: Unit) -> OpenTar:
        if self._tar is None or self._path != unit.path:
            self._stack.close()
            place, key = tar_at(self._context, unit.path)
            self._tar = self._stack.enter_context(opened(place.store, key, unit.video_id, TRANSCRIBED))
            self._path = unit.path
        if self._tar is None:
            raise Refusal(Reason.MISSING, f"there is no {unit.path.partition(':')[2]}")
        return self._tar

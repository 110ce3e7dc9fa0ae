"""The tars that earlier baselines of the workspace have read: under the same version they need not be read again.

The index of a baseline is the memory: every row of a member carries the version of its tar, and each file of it is
replaced as a whole, so that rows are never of two versions, even while another process rewrites it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any

from resplice.io import documents, runs, runstate, shards
from resplice.io.context import Context
from resplice.io.store import Head, Store
from resplice.io.tarstate import RAW, TarState
from resplice.transforms.affected import OK
from resplice.transforms.audit import raw_content, transcribed_content
from resplice.transforms.flac import StreamInfo
from resplice.transforms.ranges import overlapping


@dataclass(frozen=True)
class Former:
    """One earlier baseline: the prefix of its index, and its ranges."""

    prefix: str
    bounds: tuple[str, ...]

    def keys(self, after: str | None, until: str | None) -> tuple[str, ...]:
        """Return the objects that hold the members of the videos in (after, until]."""
        return tuple(f"{self.prefix}/{index:05d}-members.parquet" for index in overlapping(self.bounds, after, until))


def earlier(context: Context) -> list[Former]:
    """Return the baseline of another run that was finished last, and what there is of this run's own."""
    store = context.workspace.store
    ended = [
        (record["processes"][-1]["start"], run_id)
        for run_id in runstate.known_runs(store)
        if run_id != context.run.id and store.head(f"runs/{run_id}/baseline/baseline.json")
        if (record := runs.load(store, run_id)) and record["processes"]
    ]
    found = [f"runs/{max(ended)[1]}/baseline"] if ended else []
    found.append(context.stage("baseline"))
    return [
        Former(f"{stage}/index", tuple(documents.load(store, f"{stage}/world.json")["bounds"]))
        for stage in found
        if store.head(f"{stage}/world.json")
    ]


class KnownTars:
    """What is known of the tars of some videos, from the objects of an index; later objects count more."""

    def __init__(self, store: Store, keys: Sequence[str], code: str) -> None:
        self._found: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for key in keys:
            self._found.update(_tars(store, key, code))

    def state(self, kind: str, video_id: str, head: Head) -> TarState | None:
        """Return what a tar is, if this version of it has been read."""
        members = self._found.get((video_id, kind))
        if not members or members[0]["token"] != head.token:
            return None
        by_name = {member["name"]: member for member in members}
        sort = raw_content if kind == RAW else transcribed_content
        content = sort(video_id, by_name)
        infos = {name: stored(by_name[member]) for name, member in content.flacs.items()}
        return TarState(OK, head.token, head.size, content, infos)


def _tars(store: Store, key: str, code: str) -> Iterator[tuple[tuple[str, str], list[dict[str, Any]]]]:
    """Yield the members of each tar; none if the file is not there, or of another version of the code."""
    try:
        file = shards.open_file(store, key)
    except FileNotFoundError:
        return
    said = file.schema_arrow.metadata or {}
    if said.get(b"code_version") != code.encode() or "token" not in file.schema_arrow.names:
        return
    for tar, members in groupby(file.read().to_pylist(), key=itemgetter("video_id", "tar")):
        yield tar, list(members)


def stored(member: Mapping[str, Any]) -> StreamInfo | None:
    """Return the STREAMINFO that a row of the index holds."""
    if member["rate"] is None:
        return None
    return StreamInfo(member["rate"], member["channels"], member["bits"], member["samples"], member["md5"])

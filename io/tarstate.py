"""What the tars of the corpus are found to be: ok, missing or unreadable, and what is in them.

Only headers and the first bytes of members are read. Where a store makes one wait, many tars are read at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from resplice.io import tars
from resplice.io.store import Store
from resplice.transforms.affected import MISSING, OK, UNREADABLE
from resplice.transforms.audit import TarContent, raw_content, transcribed_content
from resplice.transforms.flac import StreamInfo, parse_streaminfo
from resplice.transforms.records import Damage

RAW, TRANSCRIBED = "raw", "transcribed"


@dataclass(frozen=True)
class TarState:
    """One tar of a video as found: ok, missing or unreadable (`detail` says why), and its members."""

    state: str = MISSING
    token: str | None = None
    bytes: int | None = None
    content: TarContent = field(default_factory=TarContent)
    infos: Mapping[str, StreamInfo | None] | None = None
    detail: str = ""

    @property
    def names(self) -> frozenset[str] | None:
        """Return the FLAC file names of a readable raw tar, as rule 2 of the names wants them; else None."""
        return frozenset(f"{name}.flac" for name in self.content.flacs) if self.state == OK else None


def open_tar(store: Store, key: str, video_id: str, kind: str) -> TarState:
    """Walk one tar's headers; a missing or unreadable one is a state, not an error."""
    try:
        blob = store.open(key)
    except FileNotFoundError:
        return TarState()
    try:
        members = tars.read_members(blob)
        sort = raw_content if kind == RAW else transcribed_content
        content = sort(video_id, (member.name for member in members))
        heads = {member.name: member.head for member in members}
        infos = {name: _info(heads[member]) for name, member in content.flacs.items()}
        return TarState(OK, blob.token, blob.size, content, infos)
    except Damage as damage:
        return TarState(UNREADABLE, blob.token, blob.size, detail=str(damage))
    finally:
        blob.close()


def _info(head: bytes) -> StreamInfo | None:
    try:
        return parse_streaminfo(head)
    except Damage:
        return None


@dataclass(frozen=True)
class Side:
    """The tars of one kind: where they are, and the key of each video that has one."""

    kind: str
    store: Store
    keys: Mapping[str, str]

    def open(self, video_id: str) -> TarState:
        """Walk the headers of a video's tar; without a key it is missing."""
        key = self.keys.get(video_id)
        return open_tar(self.store, key, video_id, self.kind) if key else TarState()


def open_sides(videos: Sequence[str], *sides: Side) -> Iterator[tuple[TarState, ...]]:
    """Yield the tars of each video, one a side, in the order of the videos; read over the connections of the stores."""
    connections = max(side.store.connections for side in sides)
    if connections == 1:
        yield from zip(*(map(side.open, videos) for side in sides), strict=True)
        return
    pool = ThreadPoolExecutor(connections)
    try:
        yield from zip(*(pool.map(side.open, videos) for side in sides), strict=True)
    finally:
        pool.shutdown(cancel_futures=True)

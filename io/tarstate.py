"""What the tars of the corpus are found to be: ok, missing or unreadable, and what is in them.

Only headers and the first bytes of members are read. Where a store makes one wait, many tars are read at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import cached_property

from resplice.io import tars
from resplice.io.fetch import brought
from resplice.io.store import Blob, Changed, Head, Store, mapped, sha256_of
from resplice.io.tars import Member
from resplice.transforms.affected import MISSING, OK, UNREADABLE
from resplice.transforms.audit import TarContent, raw_content, transcribed_content
from resplice.transforms.flac import StreamInfo, parse_streaminfo
from resplice.transforms.records import Damage, Exit, UserError

RAW, TRANSCRIBED = "raw", "transcribed"
_PATIENCE = 5


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


class OpenTar:
    """One tar that is open: its version is known at once, what it is when it has been walked."""

    def __init__(self, store: Store, blob: Blob, video_id: str, kind: str) -> None:
        self._store, self._blob, self._video, self._kind = store, blob, video_id, kind
        self.token = blob.token
        self.size = blob.size

    def bring(self) -> None:
        """Make ready for reading all of it more than once."""
        self._blob = brought(self._store, self._blob)

    @cached_property
    def _walked(self) -> tuple[TarState, dict[str, Member]]:
        try:
            members = tars.read_members(self._blob)
        except Damage as damage:
            return TarState(UNREADABLE, self.token, self.size, detail=str(damage)), {}
        sort = raw_content if self._kind == RAW else transcribed_content
        content = sort(self._video, (member.name for member in members))
        by_name = {member.name: member for member in members}
        infos = {name: _info(by_name[member].head) for name, member in content.flacs.items()}
        return TarState(OK, self.token, self.size, content, infos), by_name

    @property
    def state(self) -> TarState:
        """Return what the tar is and holds."""
        return self._walked[0]

    @property
    def members(self) -> Mapping[str, Member]:
        """Return the members by name; none if it is unreadable."""
        return self._walked[1]

    def read(self, member: Member) -> bytes:
        """Return the data of a member. Raises Damage if the tar has become shorter."""
        return tars.read_member(self._blob, member)

    def member_digest(self, member: Member) -> str:
        """Return the SHA-256 of a member."""
        return sha256_of(self._blob, member.offset, member.size)

    def digest(self) -> str:
        """Return the SHA-256 of the tar."""
        return sha256_of(self._blob, 0, self.size)

    def close(self) -> None:
        """Close it."""
        self._blob.close()


@contextmanager
def opened(store: Store, key: str, video_id: str, kind: str) -> Iterator[OpenTar | None]:
    """Give one tar, open; None if there is none."""
    try:
        blob = store.open(key)
    except FileNotFoundError:
        yield None
        return
    with closing(OpenTar(store, blob, video_id, kind)) as tar:
        yield tar


def open_tar(store: Store, key: str, video_id: str, kind: str, head: Head | None = None) -> TarState:
    """Walk one tar's headers; a missing or unreadable one is a state, not an error. One that changes meanwhile is
    walked again.
    """
    for _ in range(_PATIENCE):
        try:
            with closing(OpenTar(store, store.open(key, head), video_id, kind)) as tar:
                return tar.state
        except FileNotFoundError:
            return TarState()
        except Changed:
            head = None
    raise UserError(f"{store.url}/{key} changes again and again: run the same command when it is at rest", Exit.AGAIN)


def _info(head: bytes) -> StreamInfo | None:
    try:
        return parse_streaminfo(head)
    except Damage:
        return None


@dataclass(frozen=True)
class Side:
    """The tars of one kind: where they are, and the object of each video that has one."""

    kind: str
    store: Store
    heads: Mapping[str, Head]

    def open(self, video_id: str) -> TarState:
        """Walk the headers of a video's tar; without an object it is missing."""
        head = self.heads.get(video_id)
        return TarState() if head is None else open_tar(self.store, head.key, video_id, self.kind, head)


def open_sides(videos: Sequence[str], *sides: Side) -> Iterator[tuple[TarState, ...]]:
    """Yield the tars of each video, one a side, in the order of the videos; read over the connections of the stores."""
    yield from zip(*(mapped(side.store, side.open, videos) for side in sides), strict=True)

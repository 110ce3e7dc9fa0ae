"""The effects of `finalize` and `undo` on the user's tars and statuses; each is conditional and may run twice."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from resplice.io import sidecars
from resplice.io.conditional import settled
from resplice.io.context import Context
from resplice.io.journal import STATUS, TAR, Effect, Now
from resplice.io.snapshots import object_key
from resplice.io.statuses import Statuses
from resplice.io.store import Store
from resplice.transforms.records import Reason, Refusal
from resplice.transforms.repack import tar_name


@dataclass(frozen=True)
class Outcome:
    """What became of one target: the version and digest of a tar that was seen or written, why it was left ("")."""

    kind: str
    unit: str
    token: str = ""
    content: str | None = None
    detail: str = ""


def read_through(store: Store, key: str, file: IO[bytes] | None = None, known: Mapping[str, str] | None = None) -> Now:
    """Return digest and token of one version of an object; copy it to `file` on the way, if one is given.

    `known` are digests by token: under such a token the object is not read, unless it is to be copied.
    """
    if file is None and known and (head := store.head(key)) is not None and head.token in known:
        return Now(known[head.token], head.token)
    try:
        return Now(*sidecars.hashed(store, key, file))
    except FileNotFoundError:
        return Now(None)


def tar_now(context: Context, video: str, known: Mapping[str, str]) -> Now:
    """Return what the transcribed tar of a video in the corpus is."""
    return read_through(context.transcribed.store, tar_name(video), known=known)


def statuses_now(context: Context, videos: Iterable[str]) -> dict[str, Now]:
    """Return what the statuses of some videos are."""
    wanted = list(videos)
    found = context.rows.status_of(wanted) if wanted else {}
    return {video: Now(found.get(video), gone=video not in found) for video in wanted}


class Examine:
    """Look at one tar of the corpus: [video_id, {token: known digest}] → its Outcome, nothing changed."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def __call__(self, element: Sequence[Any]) -> Iterator[Outcome]:
        """Look at one tar."""
        video, known = element
        now = tar_now(self._context, video, known)
        yield Outcome(TAR, video, now.token, now.content)


class ReplaceTars:
    """Bring one tar of the corpus from the content that was found to the one it shall have; its original is kept."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def __call__(self, effect: Effect) -> Iterator[Outcome]:
        """Change one tar, if it still is what was found."""
        context, unit = self._context, effect.line.unit
        now, detail = tar_now(context, unit, {}), ""
        try:
            if now.content == effect.found != effect.to:
                self._replace(effect, now)
                now = tar_now(context, unit, {})
        except Refusal as refusal:
            now, detail = tar_now(context, unit, {}), refusal.detail
        yield Outcome(TAR, unit, now.token, now.content, detail)

    def _replace(self, effect: Effect, now: Now) -> None:
        line, corpus, workspace = effect.line, self._context.transcribed.store, self._context.workspace.store
        original = f"{self._context.stage('finalize')}/originals/{line.original}"
        if line.before is not None and not effect.undo:
            self._keep(effect, original)
        key = tar_name(line.unit)
        if effect.to is None:
            settled(lambda: corpus.delete(key), lambda: corpus.head(key) is None)
            return
        source = original if effect.undo else object_key(line.after, ".tar")
        with tempfile.NamedTemporaryFile() as file:
            _expect(read_through(workspace, source, file), effect.to, source)
            if not settled(
                lambda: corpus.replace(key, Path(file.name), now.token),
                lambda: read_through(corpus, key).content == effect.to,
            ):
                raise Refusal(Reason.CONFLICT, "the tar changed while it was being replaced; it is left as it is")

    def _keep(self, effect: Effect, original: str) -> None:
        """Copy the tar to the originals, unless it is there; what is there must be what the journal says."""
        workspace, before = self._context.workspace.store, effect.line.before
        if effect.found == before and workspace.head(original) is None:
            with tempfile.NamedTemporaryFile() as file:
                key = tar_name(effect.line.unit)
                _expect(read_through(self._context.transcribed.store, key, file), before, key)
                settled(
                    lambda: workspace.create(original, Path(file.name)), lambda: workspace.head(original) is not None
                )
        _expect(read_through(workspace, original), before, original)


def _expect(now: Now, sha256: str | None, key: str) -> None:
    if now.content != sha256:
        found = "is missing" if now.content is None else f"has the sha256 {now.content}"
        raise Refusal(Reason.CONFLICT, f"{key} {found}, expected {sha256}; the tar is left as it is")


class SetStatuses:
    """Set the statuses of one batch of videos in one transaction, each only if it still is what was found."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def __call__(self, batch: Sequence[Effect]) -> Iterator[Outcome]:
        """Set the statuses of one batch."""
        changes = [(effect.line.unit, effect.found, effect.to) for effect in batch]
        Statuses(self._context.settings.database).set(changes)
        yield from (Outcome(STATUS, effect.line.unit) for effect in batch)

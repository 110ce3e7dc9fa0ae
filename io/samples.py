"""A few repaired originals to look at and listen to: what their tar held before, and what it holds now."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

from resplice.io import ledger, pool, tars
from resplice.io.context import Context
from resplice.io.preview import Preview
from resplice.io.rebuild import old_tar
from resplice.io.sandbox import Sandbox
from resplice.io.store import Place
from resplice.io.tarstate import TRANSCRIBED, TarState, open_tar
from resplice.io.work import Planned, planned
from resplice.transforms import provenance
from resplice.transforms.affected import OK
from resplice.transforms.names import esc, parse_stem, stem
from resplice.transforms.page import Listening, Sound, Track
from resplice.transforms.records import Damage, Refusal, Segment
from resplice.transforms.repack import tar_name

COUNT = 4
TRIED = 40
PIECES = 6
CLIP_S = 4.0
AUDIO_BYTES = 1_800_000
"""Of all clips together, before base64 makes four bytes of three."""
_COLUMNS = 480
_TEXT = 240


def listenings(context: Context) -> list[Listening]:
    """Return up to COUNT repaired originals with splits, chosen by the digest of their video's id."""
    entries = ledger.load(context.workspace.store, context.stage("repair"))
    done = [video for video in planned(context) if (e := entries.get(video.video_id)) and e.outcome == "done"]
    done.sort(key=lambda video: provenance.sha256(video.video_id.encode()))
    found: list[Listening] = []
    room = AUDIO_BYTES
    settings = context.settings.run
    with pool.borrowed(settings.timeout_s, settings.memory_mb) as sandbox:
        for video in done[:TRIED]:
            if len(found) == COUNT:
                break
            sample = _Sample(context, sandbox, video)
            try:
                made = sample.made()
            except (Damage, Refusal, OSError):  # a sample that cannot be read is none; verify tells of lost tars
                continue
            if made is not None:
                found.append(made if _size(made) <= room else _silent(made))
                room -= _size(found[-1])
    return found


def _size(sample: Listening) -> int:
    return sum(len(track.sound.flac) for track in (*sample.before, *sample.after) if track.sound)


def _silent(sample: Listening) -> Listening:
    """Return a sample to look at only."""
    before, after = ([replace(track, sound=None) for track in side] for side in (sample.before, sample.after))
    return replace(sample, before=before, after=after)


@dataclass(frozen=True)
class _Text:
    """What the JSON of a segment tells: where it lies in its original (seconds; None: unknown), and what is said."""

    start_s: float | None = None
    end_s: float | None = None
    text: str = ""


class _Sample:
    """One video whose repaired tar is looked at."""

    def __init__(self, context: Context, sandbox: Sandbox, video: Planned) -> None:
        self._context, self._sandbox, self._video = context, sandbox, video

    def made(self) -> Listening | None:
        """Return the first original of the video that has splits, None if there is none."""
        id_ = self._video.video_id
        place, key = self._context.workspace, f"{self._context.stage('repair')}/transcribed/{tar_name(id_)}"
        tar = open_tar(place.store, key, id_, TRANSCRIBED)
        pieces = _first_split(tar)
        if not pieces:
            return None
        after, ends = self._pieces(place, key, tar, pieces)
        before, note = self._before(pieces, after)
        seconds = max([ends[-1][1], *(track.end_s for track in before)])
        cuts = sorted({edge for (_, end), (start, _) in pairwise(ends) for edge in (end, start)})
        return Listening(
            f"{id_} · {pieces[0].original}",
            seconds,
            before,
            after,
            cuts,
            note,
            f"{len(pieces)} segments, each with its own audio, text and result"
            + (f"; the first {len(after)} are shown" if len(after) < len(pieces) else ""),
        )

    def _pieces(
        self, place: Place, key: str, tar: TarState, pieces: list[Segment]
    ) -> tuple[list[Track], list[tuple[float, float]]]:
        """Return the tracks of the first pieces, and where each of them lies."""
        tracks: list[Track] = []
        at = 0.0
        shown = [stem(piece) for piece in pieces[:PIECES]]
        audio = self._previews(place, key, [tar.content.flacs[name] for name in shown])
        texts = _texts(place, key, [tar.content.jsons[name] for name in shown], self._context)
        for name, look, text in zip(shown, audio, texts, strict=True):
            start = at if text.start_s is None else text.start_s
            at = start + look.seconds if text.end_s is None else text.end_s
            tracks.append(_track(name, start, at, look, text.text))
        return tracks, [(track.start_s, track.end_s) for track in tracks]

    def _before(self, pieces: list[Segment], after: list[Track]) -> tuple[list[Track], str]:
        """Return what the old tar held of an original, and what was wrong with it."""
        original, there = pieces[0].original, [stem(piece) for piece in pieces]
        id_ = self._video.video_id
        place, key = old_tar(self._context, self._video)
        tar = open_tar(place.store, key, id_, TRANSCRIBED)
        if self._video.repaired is None and tar.token != self._video.transcribed_token:
            key = f"{self._context.stage('finalize')}/originals/{tar_name(id_)}"
            place = self._context.workspace
            tar = open_tar(place.store, key, id_, TRANSCRIBED)
        if tar.state != OK:
            return [], f"the tar was {tar.state}" + (f" ({tar.detail})" if tar.detail else "")
        at = {track.label: track for track in after}
        whole = next((name for name in (original, esc(original)) if name in tar.content.flacs), None)
        names = [whole] if whole else [name for name in at if name in tar.content.flacs]
        if not names:
            return [], "the tar held no audio of this original"
        looks = self._previews(place, key, [tar.content.flacs[name] for name in names])
        texts = _texts(place, key, [tar.content.jsons.get(name, "") for name in names], self._context)
        tracks = []
        for name, look, text in zip(names, looks, texts, strict=True):
            start = at[name].start_s if name in at else 0.0
            tracks.append(_track(name, start, start + look.seconds, look, text.text))
        if whole:
            and_text = ", and the text of one of them" if texts[0].text else ""
            return tracks, f"one unsplit file for all segments{and_text}"
        held = sum(name in tar.content.flacs for name in there)
        return tracks, f"{held} of the {len(there)} pieces were there"

    def _previews(self, place: Place, key: str, members: list[str]) -> list[Preview]:
        settings = self._context.settings.run
        limit = settings.memory_mb << 19
        data = _read(place, key, members, limit)
        return [
            self._sandbox.call("resplice.io.preview:preview", data[member], _COLUMNS, CLIP_S, limit)
            for member in members
        ]


def _first_split(tar: TarState) -> list[Segment]:
    """Return the splits of the first original that has some, in order."""
    segments = [segment for name in tar.content.flacs if (segment := parse_stem(name)) and segment.index is not None]
    first = min((segment.original for segment in segments), default="")
    return sorted((segment for segment in segments if segment.original == first), key=lambda segment: segment.order)


def _read(place: Place, key: str, members: list[str], limit: int) -> Mapping[str, bytes]:
    blob = place.store.open(key)
    try:
        found = {member.name: member for member in tars.read_members(blob)}
        if any(found[name].size > limit for name in members):
            raise Damage("flac_too_large", f"more than {limit} bytes")
        return {name: tars.read_member(blob, found[name]) for name in members}
    finally:
        blob.close()


def _texts(place: Place, key: str, members: list[str], context: Context) -> list[_Text]:
    """Return what the JSONs tell; a writer of the user's own may tell nothing that is understood."""
    data = _read(place, key, [name for name in members if name], 1 << 20)
    return [_text(data[name], context.settings.database.columns.transcription) if name else _Text() for name in members]


def _text(data: bytes, column: str) -> _Text:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return _Text()
    if not isinstance(value, dict):
        return _Text()
    row = value.get("row")
    said = (row.get(column) if isinstance(row, dict) else None) or value.get("transcription") or value.get("text") or ""
    text = said if isinstance(said, str) else ""
    start, end = value.get("start_s"), value.get("end_s")
    short = text if len(text) <= _TEXT else text[: _TEXT - 1] + "…"
    if isinstance(start, int | float) and isinstance(end, int | float):
        return _Text(float(start), float(end), short)
    return _Text(text=short)


def _track(name: str, start: float, end: float, look: Preview, text: str) -> Track:
    sound = Sound(name, look.flac, look.clip_s, look.seconds) if look.flac else None
    return Track(name, start, end, look.peaks, sound, text)

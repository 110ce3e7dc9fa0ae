"""One video of the demo while it is being made: recordings, rows, tars and history, and what is true of it."""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from resplice.pipelines.demo_audio import Layout, Recording, compose, phrases
from resplice.pipelines.demo_tars import Member, tar_bytes
from resplice.pipelines.demo_text import spoken

SPLIT_TAIL = re.compile(r"_(split(?:0|[1-9][0-9]*))\Z")
TAR_REASONS = {"tar_missing", "tar_unreadable", "members_missing", "tar_mismatch"}
BUCKET = {
    "raw_missing": "raw_missing",
    "raw_unreadable": "raw_missing",
    "no_rows": "unreconstructable",
    "bad_name": "unreconstructable",
    "name_collision": "unreconstructable",
    "segment_undecodable": "unreconstructable",
    "segment_mismatch": "unreconstructable",
    "duration_mismatch": "unreconstructable",
}
SHARDS = 7
FULL_SHARDS = (3, 4, 5, 6)
METADATA_PLACES = ("metadata.json", "{}/metadata.json", "")


def stem(original: str, index: int | None) -> str:
    """Return the canonical stem of an unsplit original (`index` None) or of one of its splits."""
    escaped = "".join(f"%{ord(c):02X}" if c in "%./\\\x7f" or c < " " else c for c in original)
    escaped = SPLIT_TAIL.sub(r"%5F\1", escaped)
    return escaped if index is None else f"{escaped}_split{index}"


@dataclass(frozen=True)
class Row:
    """A row of transcription_results, and which segment it is about: `index` None for an unsplit original."""

    segment_file: str
    original: str
    index: int | None
    text: str
    duration_s: float | None


@dataclass(frozen=True)
class Result:
    """A row of a historical shard: `status` is not written where the shard has no such column."""

    shard: int
    segment_file: str
    status: str = "passed"


@dataclass
class Draft:
    """A video in the making. `raw`, `audio`, `texts` map names without extension to bytes; None: there is no tar."""

    video_id: str
    seed: int
    rng: np.random.Generator
    shard: int
    metadata: str = METADATA_PLACES[0]
    originals: dict[str, Recording] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    raw: dict[str, bytes] | None = field(default_factory=dict)
    audio: dict[str, bytes] | None = field(default_factory=dict)
    texts: dict[str, bytes] = field(default_factory=dict)
    more: list[Member] = field(default_factory=list)
    history: list[Result] = field(default_factory=list)
    spoil: Callable[[bytes], bytes] = bytes
    spoil_raw: Callable[[bytes], bytes] = bytes
    tar_format: int = tarfile.USTAR_FORMAT
    folders: bool = False
    raw_prefix: str = "{}/segments/"
    in_videos: bool = True
    validation_status: str | None = "validated"
    known_md5: dict[str, str] = field(default_factory=dict)

    def record(self, name: str, layout: Layout) -> Recording:
        """Compose an original and put it into the raw tar."""
        recording = self.originals[name] = compose(layout, self.seed, self.rng)
        if self.raw is not None:
            self.raw[name] = recording.flac
        return recording

    def transcribe(self, names: Iterable[str] | None = None) -> None:
        """Add the rows of the named originals (all of them), named as the buggy pipeline did."""
        for name in list(names or self.originals):
            found, rate = self.originals[name].pieces, self.originals[name].layout.rate
            for index, (begin, end) in enumerate(found):
                seconds = round((end - begin) / rate, 3)
                whole = len(found) == 1
                file = f"{name}.flac" if whole else f"{name}.flac_split{index}"
                text = spoken(self.rng, seconds)
                self.rows.append(Row(file, name, None if whole else index, text, seconds))

    def pack(self) -> None:
        """Fill the transcribed tar as the bug did: the unsplit original under its own name, the last writer's text."""
        for row in self.rows:
            self.put(row.original, self.originals[row.original].flac, row)

    def pack_right(self) -> None:
        """Fill the transcribed tar as it should be: canonical names, every split with its own audio."""
        for row in self.rows:
            recording = self.originals[row.original]
            flac = recording.flac if row.index is None else recording.encode(*recording.pieces[row.index])
            self.put(stem(row.original, row.index), flac, row)

    def put(self, name: str, flac: bytes, row: Row) -> None:
        """Put a FLAC and the JSON of a row into the transcribed tar."""
        if self.audio is not None:
            self.audio[name] = flac
        shape = {"language": "en", "segment_file": row.segment_file, "transcription": row.text}
        self.texts[name] = json.dumps(shape, sort_keys=True).encode()

    def remember(self, status: str = "passed", shard: int | None = None) -> None:
        """Add a historical result for every row."""
        for row in self.rows:
            self.history.append(Result(self.shard if shard is None else shard, row.segment_file, status))

    def remember_collapsed(self, shard: int | None = None) -> None:
        """Add what validation saw in a collapsed tar: one result for each original."""
        for name in dict.fromkeys(row.original for row in self.rows):
            self.history.append(Result(self.shard if shard is None else shard, f"{name}.flac"))

    def change_row(self, at: int, **changes: Any) -> None:
        """Replace fields of the row at a position."""
        self.rows[at] = replace(self.rows[at], **changes)

    def raw_tar(self) -> bytes | None:
        """Return the raw tar as it lies in the corpus, None if there is none."""
        if self.raw is None:
            return None
        prefix = self.raw_prefix.format(self.video_id)
        members = [(f"{prefix}{name}.flac", flac) for name, flac in self.raw.items()]
        return self.spoil_raw(tar_bytes([*members, *self.about()], self.tar_format, self.directories()))

    def transcribed_tar(self) -> bytes | None:
        """Return the transcribed tar as it lies in the corpus, None if there is none."""
        if self.audio is None:
            return None
        members = [(f"{self.video_id}/segments/{name}.flac", flac) for name, flac in self.audio.items()]
        members += [(f"{self.video_id}/transcriptions/{name}.json", text) for name, text in self.texts.items()]
        return self.spoil(tar_bytes([*members, *self.more, *self.about()], self.tar_format, self.directories()))

    def about(self) -> list[Member]:
        """Return metadata.json at the place where this video has it, if anywhere."""
        text = json.dumps({"title": f"Recording {self.video_id}"}).encode()
        return [(self.metadata.format(self.video_id), text)] if self.metadata else []

    def directories(self) -> list[str]:
        """Return the directory entries that this video's tars have."""
        return [self.video_id, f"{self.video_id}/segments"] if self.folders else []

    def truth(self, damage: list[str], affected: Iterable[str], refused: str | None) -> dict[str, Any]:
        """Return the video's entry of truth.json."""
        reasons = sorted(affected)
        fate = {"bucket": BUCKET[refused] if refused else "validated", "reason": refused}
        rebuilt = bool(TAR_REASONS & set(reasons))
        return {
            "damage": damage,
            "affected": reasons,
            "rows": {row.segment_file: dict(fate) for row in self.rows},
            "audio_md5": {} if refused else self.known_md5 or dict(sorted(self.right_audio(rebuilt))),
        }

    def right_audio(self, rebuilt: bool) -> Iterable[tuple[str, str]]:
        """Yield (stem, PCM MD5): of the pieces where the tar is rebuilt, else unsplit originals are still untrimmed."""
        for row in self.rows:
            recording = self.originals[row.original]
            if rebuilt or row.index is not None:
                bounds = recording.pieces[row.index or 0]
            else:
                bounds = (0, recording.layout.length)
            yield stem(row.original, row.index), recording.md5(*bounds)


def clean(draft: Draft, originals: int = 3, longest_s: float = 5.0) -> None:
    """Make a video that the bug did not touch: unsplit originals only, each with its row, pair and result."""
    for number in range(1, originals + 1):
        draft.record(f"seg_{number:04d}", phrases(draft.rng, draft.rng.uniform(1.0, longest_s)))
    draft.transcribe()
    draft.pack()
    draft.remember()


def originals_with_splits(draft: Draft, *layouts: Layout) -> None:
    """Record `layouts` as talk, talk2, … (none given: one to split) and an unsplit `seg_0001`, with their rows."""
    for number, layout in enumerate(layouts or (phrases(draft.rng, draft.rng.uniform(17.0, 34.0)),), start=1):
        draft.record("talk" if number == 1 else f"talk{number}", layout)
    draft.record("seg_0001", phrases(draft.rng, draft.rng.uniform(1.5, 4.0)))
    draft.transcribe()


def collapsed(draft: Draft, *layouts: Layout) -> None:
    """Make a video as the bug left it: splits in the rows, unsplit audio in the tar, one result for each original."""
    originals_with_splits(draft, *layouts)
    draft.pack()
    draft.remember_collapsed()


def healthy_splits(draft: Draft) -> None:
    """Make a video of the mended packaging: splits in the rows, in the tar and in the results."""
    originals_with_splits(draft)
    draft.pack_right()
    draft.remember()

"""What a first look at embeddings shows and lets people hear: vectors of the shards, seconds of the recordings."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import PurePath

import numpy as np
from numpy.typing import NDArray

from resplice.io import audio, pool, vectors
from resplice.io.embedding import Job, Reader
from resplice.io.vectors import Index
from resplice.transforms import preview_page, provenance
from resplice.transforms.embedding import Task, Unit
from resplice.transforms.page import Page, Sound

MOST = 3000
CLIP_S = 4.0
AUDIO_BYTES = 2_600_000
"""Of all clips together, before base64 makes four bytes of three."""
_LOUD = 0.02


def page(job: Job, units: Sequence[Unit], index: Index) -> Page:
    """Return the page of what was requested and has its vector: at most MOST units, chosen by the digest of their key.

    A unit of many windows is shown by its first one.
    """
    there = [unit for unit in units if (p := index.present.get(unit.key)) and p.identity == job.identity(unit.sha256)]
    total = len(there)
    if total > MOST:
        there = sorted(there, key=lambda unit: provenance.sha256(unit.key.encode()))[:MOST]
    there = sorted(there, key=lambda unit: unit.key)
    run, maker = job.context.settings.run, f"{job.choice.name}, windows {job.windows}"
    with ExitStack() as stack:
        reader = Reader(job, stack, stack.enter_context(pool.borrowed(run.timeout_s, run.memory_mb)))
        clips = _Clips(reader, there, job.choice.sample_rate)
        return preview_page.page(_labels(there), _matrix(job, there, index), total, maker, clips.of)


class _Clips:
    """The clips of units, as long as there is room for them in a page."""

    def __init__(self, reader: Reader, units: Sequence[Unit], rate: int) -> None:
        self._reader, self._units, self._rate = reader, units, rate
        self._room = AUDIO_BYTES

    def of(self, row: int) -> Sound | None:
        """Return the clip of a unit, None for none."""
        made = self._made(row)
        if made is None or len(made.flac) > self._room:
            return None
        self._room -= len(made.flac)
        return made

    @functools.cache  # noqa: B019 - it lives as long as the page is made
    def _made(self, row: int) -> Sound | None:
        return _clip(self._reader, self._units[row], self._rate)


def _labels(units: Sequence[Unit]) -> list[str]:
    """Return the keys without the folder that all of them are in."""
    parts = [PurePath(unit.key).parts for unit in units]
    same = 0
    while parts and all(len(part) > same + 1 and part[same] == parts[0][same] for part in parts):
        same += 1
    return ["/".join(part[same:]) for part in parts]


def _matrix(job: Job, units: Sequence[Unit], index: Index) -> NDArray[np.float32]:
    """Return the first vector of each unit, shape (n, dim)."""
    rows: dict[str, list[tuple[int, int]]] = {}
    for place, unit in enumerate(units):
        at = index.present[unit.key].at
        rows.setdefault(at.shard, []).append((place, at.first))
    found: dict[int, NDArray[np.float32]] = {}
    for shard, wanted in rows.items():
        of = vectors.matrix(vectors.whole(job.out.store, shard))
        found |= {place: of[first] for place, first in wanted}
    return np.stack([found[place] for place in range(len(units))]) if units else np.zeros((0, 1), np.float32)


def _clip(reader: Reader, unit: Unit, rate: int) -> Sound | None:
    """Return a few seconds of a recording, from its first sound; None if it cannot be had any more."""
    _, sound = reader.read(Task((unit,)))
    if sound is None:
        return None
    loud = np.abs(sound.samples) > _LOUD
    start = int(np.argmax(loud)) if loud.any() else 0
    part = sound.samples[start : start + round(CLIP_S * rate)]
    pcm = np.round(np.clip(part, -1, 1) * 32767).astype(np.int16).reshape(-1, 1)
    return Sound(unit.key, audio.encode(pcm, rate, 16), len(pcm) / rate, sound.duration_s)

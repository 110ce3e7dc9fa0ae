"""Compose speech-like recordings from bursts and silences, so that every cut point is known beforehand."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import soundfile

PAD_S, LONGEST_S, GAP_S = 0.1, 15.0, 0.3
SPEECH_RMS = 0.1
TONE_PEAK = 0.0224
BANK_S = 60
MD5_AT = slice(26, 42)

Floats = npt.NDArray[np.float32]
Samples = npt.NDArray[np.int16] | npt.NDArray[np.int32]


@dataclass(frozen=True)
class Layout:
    """The plan of one recording: `runs` of (has sound, number of 10-ms frames), then `rest` samples less than a frame.

    `texture` is speech (-20 dBFS), tone (-36 dBFS in every frame), clipped, or zero (digital silence throughout).
    """

    runs: tuple[tuple[bool, int], ...]
    rate: int = 16000
    channels: int = 1
    bits: int = 16
    rest: int = 0
    texture: str = "speech"

    @property
    def frame(self) -> int:
        """Length of a frame in samples."""
        return self.rate // 100

    @property
    def length(self) -> int:
        """Length in samples."""
        return sum(frames for _, frames in self.runs) * self.frame + self.rest

    @property
    def bursts(self) -> list[tuple[int, int]]:
        """Stretches of sound as [first, end) in frames; adjacent runs with sound are one burst."""
        found: list[tuple[int, int]] = []
        at = 0
        for loud, frames in self.runs:
            if loud and found and found[-1][1] == at:
                found[-1] = (found[-1][0], at + frames)
            elif loud and frames:
                found.append((at, at + frames))
            at += frames
        return found


def trimmed(layout: Layout, begin: int, end: int) -> tuple[int, int] | None:
    """Return [begin, end) in samples cut down to its sound and the pads; None: no frame with sound begins in it."""
    first, last = -(-begin // layout.frame), -(-end // layout.frame)
    inside = [(max(a, first), min(b, last)) for a, b in layout.bursts if max(a, first) < min(b, last)]
    if not inside:
        return None
    pad = round(PAD_S * layout.rate)
    return max(begin, inside[0][0] * layout.frame - pad), min(end, inside[-1][1] * layout.frame + pad)


def middles(layout: Layout) -> list[int]:
    """Return the middles, in samples, of the silences between bursts that are long enough to cut in."""
    shortest = round(GAP_S * layout.rate)
    silences = [(a[1], b[0]) for a, b in pairwise(layout.bursts)]
    return [(a + b) * layout.frame // 2 for a, b in silences if (b - a) * layout.frame >= shortest]


def pieces(layout: Layout) -> list[tuple[int, int]]:
    """Return the pieces [begin, end) in samples that the built-in polish must find with its default settings."""
    whole = trimmed(layout, 0, layout.length)
    if whole is None:
        return []
    longest = round(LONGEST_S * layout.rate)
    edges = [whole[0]]
    while whole[1] - edges[-1] > longest:
        reach = edges[-1] + longest
        edges.append(max((m for m in middles(layout) if edges[-1] < m <= reach), default=reach))
    if len(edges) == 1:
        return [whole]
    parts = (trimmed(layout, a, b) for a, b in zip(edges, [*edges[1:], whole[1]], strict=True))
    return [part for part in parts if part]


@lru_cache(maxsize=8)
def speech_bank(seed: int, rate: int) -> Floats:
    """Return a minute of speech-like sound, float32 in [-1, 1], every 10 ms of which is well above -40 dBFS."""
    rng = np.random.default_rng([seed, rate])
    time = np.arange(BANK_S * rate, dtype=np.float32) / np.float32(rate)
    pitch = 130 + 40 * np.sin(2 * np.pi * 0.31 * time) + 15 * np.sin(2 * np.pi * 1.7 * time)
    phase = np.cumsum(2 * np.pi * pitch / rate)
    voice = sum(weight * np.sin(k * phase) for k, weight in enumerate((0.6, 1.0, 0.8, 0.35, 0.5, 0.2), start=1))
    breath = np.convolve(rng.standard_normal(time.size), (0.4, -0.2, 0.5, -0.2, 0.4), mode="same")
    syllables = 0.65 + 0.35 * np.sin(2 * np.pi * 4.1 * time + 2 * np.sin(2 * np.pi * 0.7 * time))
    mixed = syllables * voice + 0.35 * breath
    sound: Floats = (mixed * (SPEECH_RMS / np.sqrt(np.mean(mixed**2)))).astype(np.float32)
    return sound


@lru_cache(maxsize=8)
def room_bank(seed: int, rate: int) -> npt.NDArray[np.int32]:
    """Return a minute of room noise of at most two steps of a 16-bit sample: far below every threshold."""
    return np.random.default_rng([seed, rate, 1]).integers(-2, 3, size=BANK_S * rate, dtype=np.int32)


def burst(layout: Layout, size: int, seed: int, rng: np.random.Generator) -> Floats:
    """Return `size` samples of sound of the layout's texture, float32 in [-1, 1]."""
    if layout.texture == "tone":
        tone: Floats = (TONE_PEAK * np.sin(2 * np.pi * 200 * np.arange(size) / layout.rate)).astype(np.float32)
        return tone
    bank = speech_bank(seed, layout.rate)
    start = int(rng.integers(bank.size))
    gain = 14.0 if layout.texture == "clipped" else rng.uniform(0.85, 1.2)
    sound: Floats = np.take(bank, np.arange(start, start + size), mode="wrap")
    return sound * np.float32(gain)


def channel(layout: Layout, seed: int, rng: np.random.Generator) -> npt.NDArray[np.int32]:
    """Return the integer samples of one channel, at the layout's bit depth."""
    if layout.texture == "zero":
        return np.zeros(layout.length, dtype=np.int32)
    top, start = 2 ** (layout.bits - 1), int(rng.integers(BANK_S * layout.rate))
    samples = np.take(room_bank(seed, layout.rate), np.arange(start, start + layout.length), mode="wrap")
    at = 0
    for index, (loud, frames) in enumerate(layout.runs):
        size = frames * layout.frame + (layout.rest if index == len(layout.runs) - 1 else 0)
        if loud:
            sound = np.rint(burst(layout, size, seed, rng) * top)
            samples[at : at + size] = np.clip(sound, -top, top - 1).astype(np.int32)
        at += size
    return samples


@dataclass(frozen=True, eq=False)
class Recording:
    """A composed original: `samples` is int16 or int32 (24-bit values), shape (frames, channels)."""

    layout: Layout
    samples: Samples

    @cached_property
    def flac(self) -> bytes:
        """The whole original as FLAC."""
        return self.encode(0, self.layout.length)

    @cached_property
    def pieces(self) -> list[tuple[int, int]]:
        """The pieces that a right repair makes of it, in samples."""
        return pieces(self.layout)

    def encode(self, begin: int, end: int) -> bytes:
        """Return the samples [begin, end) as FLAC of the same rate, channels and depth."""
        data, depth = self.samples[begin:end], self.layout.bits
        target = io.BytesIO()
        data = data << 8 if depth == 24 else data
        soundfile.write(target, data, self.layout.rate, f"PCM_{depth}", format="FLAC", compression_level=0.0)
        return target.getvalue()

    def md5(self, begin: int, end: int) -> str:
        """Return the MD5 of the samples [begin, end) as FLAC defines it: little-endian, interleaved, packed."""
        packed = np.ascontiguousarray(self.samples[begin:end].astype(f"<i{self.samples.itemsize}"))
        if self.layout.bits == 24:
            packed = np.ascontiguousarray(packed.view(np.uint8).reshape(-1, 4)[:, :3])
        return hashlib.md5(packed.tobytes(), usedforsecurity=False).hexdigest()


def compose(layout: Layout, seed: int, rng: np.random.Generator) -> Recording:
    """Return the recording of a layout; `seed` chooses the voice, `rng` the words."""
    columns = np.stack([channel(layout, seed, rng) for _ in range(layout.channels)], axis=1)
    return Recording(layout, columns.astype(np.int16) if layout.bits == 16 else columns)


def phrases(rng: np.random.Generator, seconds: float, rate: int = 16000) -> Layout:
    """Return about `seconds` of phrases with pauses to cut in between; sound begins and ends it."""
    runs: list[tuple[bool, int]] = []
    left = max(20, round(seconds * 100))
    while left > 450:
        said, pause = int(rng.integers(90, 330)), int(rng.integers(34, 80))
        runs += [(True, said), (False, pause)]
        left -= said + pause
    return Layout((*runs, (True, left)), rate, rest=int(rng.integers(rate // 100)))


def between_silences(layout: Layout, before: int, after: int) -> Layout:
    """Return the layout with silences of `before` and `after` frames around it."""
    return replace(layout, runs=((False, before), *layout.runs, (False, after)))


def timed(*runs: tuple[bool, float], texture: str = "speech") -> Layout:
    """Return a 16 kHz layout from (has sound, seconds), whole frames only."""
    return Layout(tuple((loud, round(seconds * 100)) for loud, seconds in runs), texture=texture)


def lying_md5(flac: bytes) -> bytes:
    """Return a FLAC file whose STREAMINFO names another MD5 than its samples have."""
    return flac[: MD5_AT.start] + bytes(255 - byte for byte in flac[MD5_AT]) + flac[MD5_AT.stop :]


def cut_short(flac: bytes) -> bytes:
    """Return a FLAC file that breaks off: its header promises more than follows."""
    return flac[: len(flac) * 3 // 5]


def total_seconds(recordings: Iterable[Recording]) -> float:
    """Return the length of all recordings together, in seconds."""
    return sum(recording.layout.length / recording.layout.rate for recording in recordings)

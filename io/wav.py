"""The audio files of chunks: whether one is whole, by its header or by decoding it, and what is measured in it."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import IO

import numpy as np
import soundfile

from resplice.transforms.chunks import EMPTY_AUDIO, UNREADABLE_AUDIO
from resplice.transforms.records import Damage
from resplice.transforms.signal import Measures, Samples, measure
from resplice.transforms.speech import GAP_DBFS, wav_frames

_BLOCK = 1 << 16
_WAV = ("WAV", "WAVEX", "RF64")
_FULL = 2.0**31


def frames(path: Path) -> int:
    """Return the frames of a file, 0 for an empty one. Raises OSError and `Damage` (`wav_header`, `wav_truncated`).

    The header of a WAV of PCM or floats tells them (see `wav_frames`); what else libsndfile reads is decoded.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        told = wav_frames(reader(file), size) if size else 0
        return _decoded(file) if told is None else told


def reader(file: IO[bytes]) -> Callable[[int, int], bytes]:
    """Return what reads so many bytes of a file from an offset on."""

    def read(at: int, count: int) -> bytes:
        file.seek(at)
        return file.read(count)

    return read


def _decoded(file: IO[bytes]) -> int:
    """Return the frames of audio of any kind, decoded to its end."""
    file.seek(0)
    try:
        with soundfile.SoundFile(file) as source:
            declared, found = source.frames, 0
            while count := len(source.read(_BLOCK, dtype="int32", always_2d=True)):
                found += count
    except soundfile.LibsndfileError as error:
        raise Damage("wav_header", f"libsndfile: {error.error_string}") from error
    if found < declared:
        raise Damage("wav_truncated", f"{found} frames decoded, its header says {declared}")
    return found


def fault(path: Path) -> str | None:
    """Return what is wrong with the audio of a chunk, "" if it is good, None if there is no such file."""
    try:
        return "" if frames(path) else EMPTY_AUDIO
    except Damage:
        return UNREADABLE_AUDIO
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError):
        return None
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return None
        raise


def measured(path: str) -> Measures:
    """Decode a WAV file to its end and return its measures; for a worker process that can be killed.

    Raises `Damage` with `wav_header` (also for audio of another kind), `wav_undecodable` or `wav_truncated` (fewer
    frames than its header says).
    """
    declared = frames(Path(path))
    try:
        with soundfile.SoundFile(path) as source:
            if source.format not in _WAV:
                raise Damage("wav_header", f"it is {source.format}, not WAV")
            rate, samples = source.samplerate, _samples(source)
    except soundfile.LibsndfileError as error:
        raise Damage("wav_undecodable", error.error_string) from error
    if len(samples) < declared:
        raise Damage("wav_truncated", f"{len(samples)} frames decoded, its header says {declared}")
    return measure(samples, rate, "", gap_dbfs=GAP_DBFS, clipped_level=1.0, md5="")


def _samples(source: soundfile.SoundFile) -> Samples:
    """Return int16 or int32, shape (frames, channels); libsndfile does not scale floats to integers, so we do."""
    if source.subtype == "PCM_16":
        return source.read(source.frames, dtype="int16", always_2d=True)  # type: ignore[no-any-return]
    if source.subtype not in ("FLOAT", "DOUBLE"):
        return source.read(source.frames, dtype="int32", always_2d=True)  # type: ignore[no-any-return]
    levels = np.nan_to_num(source.read(source.frames, dtype="float64", always_2d=True))
    whole: Samples = np.clip(levels * _FULL, -_FULL, _FULL - 1).astype(np.int32)
    return whole

"""WAV files of chunks: whether one is whole, by its header, and what libsndfile measures in it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import soundfile

from resplice.transforms.chunks import EMPTY_AUDIO, UNREADABLE_AUDIO
from resplice.transforms.records import Damage
from resplice.transforms.signal import Measures, Samples, measure
from resplice.transforms.speech import GAP_DBFS, wav_frames

_HEAD = 1 << 16
_FULL = 2.0**31


def frames(path: Path) -> int:
    """Return the frames of a file by its header, 0 for an empty one. Raises OSError and `Damage` (see `wav_frames`)."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        return wav_frames(file.read(_HEAD), size) if size else 0


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

    Raises `Damage` with `wav_undecodable` or `wav_truncated` (fewer frames than its header says).
    """
    declared = frames(Path(path))
    try:
        with soundfile.SoundFile(path) as source:
            rate, samples = source.samplerate, _samples(source)
    except soundfile.LibsndfileError as error:
        raise Damage("wav_undecodable", error.error_string) from error
    if len(samples) < declared:
        raise Damage("wav_truncated", f"{len(samples)} frames decoded, its header says {declared}")
    return measure(samples, rate, "", gap_dbfs=GAP_DBFS, clipped_level=1.0, md5="")


def _samples(source: soundfile.SoundFile) -> Samples:
    """Return int16 or int32, shape (frames, channels); libsndfile does not scale floats to integers, so we do."""
    if source.subtype == "PCM_16":
        return source.read(dtype="int16", always_2d=True)  # type: ignore[no-any-return]
    if source.subtype not in ("FLOAT", "DOUBLE"):
        return source.read(dtype="int32", always_2d=True)  # type: ignore[no-any-return]
    levels = np.nan_to_num(source.read(dtype="float64", always_2d=True))
    whole: Samples = np.clip(levels * _FULL, -_FULL, _FULL - 1).astype(np.int32)
    return whole

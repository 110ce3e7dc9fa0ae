"""Decoding audio of any kind that is embedded, to mono at one rate; for a worker process that can be killed.

WAV, FLAC, MP3, AIFF, Ogg and Opus by libsndfile, .m4a by FFmpeg's libraries (the extra `av`). Recordings are read in
blocks, so that only the mono audio is ever whole in memory.
"""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from resplice.io import audio, wav
from resplice.transforms import paths, speech, streams
from resplice.transforms.records import Damage, Reason, Refusal
from resplice.transforms.windows import LEAST_S

M4A = ".m4a"
_BLOCK = 1 << 17
_HEAD = 64
_FIRST = 256
_MP3_FRAME = 1152
_MOST_CHANNELS = 2
_FLAC_TOTAL = slice(21, 26)
"""Where the 36 bits of the frames in all end, in a FLAC whose first block is STREAMINFO (RFC 9639, 8.2)."""
_UNKNOWN = 7
"""The error of libsndfile that it words as a file that does not exist, when it is none of its kinds."""
Block = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Sound:
    """A decoded recording: mono float32, shape (samples,), in [-1, 1], at the rate that was asked for.

    `source_rate` (Hz) and `duration_s` are of the recording itself.
    """

    samples: Block
    source_rate: int
    duration_s: float


def decode_alone(source: str | bytes, name: str, rate: int) -> Sound:
    """Decode in a process of its own, where what decoders print of broken audio is nobody's message."""
    with open(os.devnull, "wb") as null:
        os.dup2(null.fileno(), 2)
    return decode(source, name, rate)


def decode(source: str | bytes, name: str, rate: int) -> Sound:
    """Decode a file (its native path) or the bytes of one to mono at `rate` Hz; `name` tells by its extension what it
    is. Channels are averaged, then the rate is changed by soxr (HQ).

    Raises Refusal: `empty` (no bytes), `unsupported` (more than 2 channels, .m4a without the extra), `too_short`
    (less than 0.1 s), `non_finite` (a sample that is no number), `undecodable` (anything else, also a file that is
    shorter than its header says).
    """
    try:
        if isinstance(source, str) and Path(source).stat().st_size == 0:
            raise Refusal(Reason.EMPTY, "the file has 0 bytes")
        if not source:
            raise Refusal(Reason.EMPTY, "the member has 0 bytes")
        if Path(name).suffix.lower() == M4A:
            return _by_av(source, rate)
        return _by_libsndfile(source, rate)
    except Damage as damage:
        raise Refusal(Reason.UNDECODABLE, str(damage)) from None
    except soundfile.LibsndfileError as error:
        said = "the format is not recognised" if error.code == _UNKNOWN else error.error_string
        raise Refusal(Reason.UNDECODABLE, f"libsndfile: {said}") from None


def _by_libsndfile(source: str | bytes, rate: int) -> Sound:
    if isinstance(source, bytes) and source[:4] == b"fLaC":
        audio.verify(audio.decode(source))  # libsndfile never looks at the MD5, and segments have one
    with _opened(source) as file:
        declared = _declared(file)
        counted = _counts_frames(file)
    with soundfile.SoundFile(os.fsencode(source) if isinstance(source, str) else io.BytesIO(source)) as decoder:
        _check_channels(decoder.channels)
        resampled = _Resampled(decoder.samplerate, rate)
        samples = resampled.all(_blocks(decoder))
        expected = declared if declared is not None else _reliable_frames(decoder, counted)
    if expected is not None and resampled.frames < expected - (_MP3_FRAME if counted else 0):
        raise Damage("truncated", f"{resampled.frames} frames decoded, its header says {expected}")
    return resampled.sound(samples)


def _opened(source: str | bytes) -> IO[bytes]:
    return io.BytesIO(source) if isinstance(source, bytes) else Path(source).open("rb")


def _declared(file: IO[bytes]) -> int | None:
    """Return the frames that a WAV declares, None for another kind; `Damage` for one that is shorter than it says."""
    head = file.read(_HEAD)
    size = file.seek(0, os.SEEK_END)
    if head[:4] == b"FORM" and (said := struct.unpack_from(">I", head.ljust(8, b"\0"), 4)[0] + 8) > size:
        raise Damage("aiff_truncated", f"{size} bytes, its header says {said}")
    if head[:4] == b"fLaC" and len(head) > _FLAC_TOTAL.stop and not int.from_bytes(head[_FLAC_TOTAL]) & (1 << 36) - 1:
        raise Damage("flac_streamed", "the FLAC does not tell its length (streamed); rewrite it with flac or ffmpeg")
    if head[:4] == b"OggS":
        _check_ogg(file, size)
    return speech.wav_frames(wav.reader(file), size)


def _check_ogg(file: IO[bytes], size: int) -> None:
    """Raise Damage unless whole pages of Ogg lie one behind the other up to one that is the last of a stream.

    What is behind that may be anything.
    """
    at, ended = file.seek(0), False
    while at < size and (page := streams.ogg_page(file.read(streams.OGG_HEAD))):
        at, ended = file.seek(at + page[0]), page[1]
    if not ended or at > size:
        raise Damage("ogg_truncated", f"its pages break off at byte {min(at, size)} of {size}, before the last one")


def _counts_frames(file: IO[bytes]) -> bool:
    """Return whether an MP3 tells how many frames it has, as encoders write it into the first one."""
    file.seek(0)
    file.seek(streams.id3_size(file.read(streams.ID3_HEAD)))
    return streams.counts_frames(file.read(_FIRST))


def _reliable_frames(decoder: soundfile.SoundFile, counted: bool) -> int | None:
    """Return the frames of audio that a header tells (`counted`: that of an MP3, too); of other MP3s and of streams
    they are estimates.
    """
    if decoder.format not in ("FLAC", "AIFF", "AIFC", "WAV", "WAVEX", "RF64", "MP3"):
        return None
    return int(decoder.frames) if counted or decoder.format != "MP3" else None


def _blocks(decoder: soundfile.SoundFile) -> Iterator[Block]:
    while len(block := decoder.read(_BLOCK, dtype="float32", always_2d=True)):
        yield block


def _check_channels(channels: int) -> None:
    if channels > _MOST_CHANNELS:
        raise Refusal(Reason.UNSUPPORTED, f"{channels} channels; at most {_MOST_CHANNELS} are supported")


class _Resampled:
    """Mono at another rate, block by block."""

    def __init__(self, source_rate: int, rate: int) -> None:
        self._source_rate, self._rate = source_rate, rate
        self._stream = None
        if source_rate != rate:
            import soxr  # of an extra

            self._stream = soxr.ResampleStream(source_rate, rate, 1, "float32")
        self.frames = 0

    def all(self, blocks: Iterator[Block]) -> Block:
        """Return the mono audio of blocks of shape (frames, channels)."""
        made = [self._next(block) for block in blocks]
        if self._stream is not None:
            made.append(self._stream.resample_chunk(np.empty(0, np.float32), last=True))
        return np.concatenate(made) if made else np.empty(0, np.float32)

    def _next(self, block: Block) -> Block:
        self.frames += len(block)
        mono = block[:, 0] if block.shape[1] == 1 else block.mean(axis=1, dtype=np.float32)
        if not np.isfinite(mono).all():
            raise Refusal(Reason.NON_FINITE, f"a sample before {self.frames / self._source_rate:.1f} s is no number")
        return mono if self._stream is None else self._stream.resample_chunk(np.ascontiguousarray(mono))

    def sound(self, samples: Block) -> Sound:
        """Return the recording, if it is long enough."""
        seconds = self.frames / self._source_rate
        if seconds < LEAST_S:
            raise Refusal(Reason.TOO_SHORT, f"{seconds:.3f} s of audio; at least {LEAST_S:g} s are needed")
        return Sound(samples, self._source_rate, seconds)


def _by_av(source: str | bytes, rate: int) -> Sound:
    try:
        import av
    except ImportError:
        raise Refusal(Reason.UNSUPPORTED, ".m4a needs the extra av: pip install 'resplice[av]'") from None
    try:
        with _opened(source) as file, closing(av.open(file)) as container:
            if not container.streams.audio:
                raise Damage("no_audio", "there is no audio in it")
            stream = container.streams.audio[0]
            _check_channels(stream.codec_context.channels)
            resampled = _Resampled(stream.codec_context.sample_rate, rate)
            return resampled.sound(resampled.all(_frames(av, container, stream)))
    except av.FFmpegError as error:
        raise Refusal(Reason.UNDECODABLE, f"FFmpeg: {error.strerror}") from None


def _frames(av: Any, container: Any, stream: Any) -> Iterator[Block]:
    converter = av.AudioResampler(format="fltp")
    for frame in container.decode(stream):
        for part in converter.resample(frame):
            yield np.ascontiguousarray(part.to_ndarray().T)


def readable(name: str) -> bool:
    """Return whether a name has the extension of a kind of audio that is embedded."""
    return Path(name).suffix.lower() in paths.EXTENSIONS

"""FLAC in and out by libsndfile, integers all the way.

The functions are plain; untrusted audio is given to them inside a worker process that can be killed. libsndfile
believes the header: it stops where the header says the audio ends, seeks by it and never looks at the MD5. So the
count is hidden from it, the audio is read forward to its real end, and count and MD5 are compared here.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from resplice.transforms.flac import HEAD, StreamInfo, parse_streaminfo
from resplice.transforms.records import Damage

Samples = NDArray[np.int16] | NDArray[np.int32]

_BLOCK_FRAMES = 1 << 19
_HASHED_FRAMES = 1 << 16
_SMALL, _MAX_RATIO = 64 << 20, 2000
"""Blocks of the usual 4096 samples take 14 bytes each where all is silent: a ratio of 585 for 16 bits."""
_SUBTYPES = {8: "PCM_S8", 16: "PCM_16", 24: "PCM_24"}
_DTYPES: dict[int, type[np.int16] | type[np.int32]] = {8: np.int16, 16: np.int16, 24: np.int32}


@dataclass(frozen=True, eq=False)
class Audio:
    """Decoded audio and what its header declared.

    `samples`: int16 (8 and 16 bits) or int32 (24 bits), shape (frames, channels), left-justified, so that a level in
    [-1, 1) is value / 2**(bits of the dtype - 1); `rate` in Hz; `bits` of the FLAC; `md5` of the decoded PCM.
    """

    samples: Samples
    rate: int
    bits: int
    declared: StreamInfo
    md5: str

    @property
    def frames(self) -> int:
        """Return the number of decoded samples per channel."""
        return len(self.samples)


class _ForwardFile(soundfile.SoundFile):  # type: ignore[misc]
    """A sound file that is only read forward.

    soundfile seeks after each read of a seekable file, and stops at the declared length.
    """

    def seekable(self) -> bool:
        """Return False."""
        return False


def decode(data: bytes, max_bytes: int | None = None) -> Audio:
    """Decode a whole FLAC to its real end, whatever its header declares about the length.

    `max_bytes` caps the size of the decoded samples in memory (frames x channels x bytes of the dtype). Neither the
    declared count nor the MD5 is judged: see `verify`. Raises `Damage` with `flac_header` (not a FLAC, or not of 8, 16
    or 24 bits), `flac_too_large` (declared or decoded size above `max_bytes`) or `flac_truncated` (a decoding error).
    """
    declared = parse_streaminfo(data[:HEAD])
    if declared.bits not in _SUBTYPES:
        raise Damage("flac_header", f"declares {declared.bits} bits a sample; 8, 16 and 24 are supported")
    dtype = np.dtype(_DTYPES[declared.bits])
    _check_size(declared.samples * declared.channels * dtype.itemsize, max_bytes)
    try:
        return _decoded(_without_count(data), declared, dtype, max_bytes)
    except soundfile.LibsndfileError as error:
        if (whole := _before_a_tail(data, declared, dtype, max_bytes)) is not None:
            return whole
        text = f"decoding stopped before the end ({declared.samples or 'unknown'} samples are declared)"
        raise Damage("flac_truncated", f"{text}: {error.error_string}") from error


def _decoded(data: bytes, declared: StreamInfo, dtype: np.dtype[Any], max_bytes: int | None) -> Audio:
    with _ForwardFile(io.BytesIO(data)) as source:
        frames = min(declared.samples or _BLOCK_FRAMES, _BLOCK_FRAMES) + 1  # one more, to see the end
        samples: Samples = source.read(out=np.empty((frames, source.channels), dtype))
        _check_size(samples.nbytes, max_bytes)
        if len(samples) == frames:
            samples = _all(source, samples, data, declared, max_bytes)
    return Audio(samples, declared.rate, declared.bits, declared, pcm_md5(samples, declared.bits))


def _all(
    source: _ForwardFile, first: NDArray[Any], data: bytes, declared: StreamInfo, max_bytes: int | None
) -> NDArray[Any]:
    """Return all samples, to the end that the decoder finds; `first` of them are read.

    Some kilobytes can decode to gigabytes of silence: what is longer than declared is kept once it is known to fit,
    and to be no more than recordings (also of silence) give.
    """
    pcm, kept, known = bytearray(first.data), len(first), False
    block = np.empty((_BLOCK_FRAMES, first.shape[1]), first.dtype)
    while True:
        if kept > declared.samples and not known and max_bytes is not None:
            _check_length(data, block, min(max_bytes, max(_SMALL, _MAX_RATIO * len(data))))
            known = True
        if not len(more := source.read(out=block)):
            return np.frombuffer(pcm, first.dtype).reshape(-1, first.shape[1])
        pcm += more.data
        kept += len(more)


def _check_length(data: bytes, block: NDArray[Any], max_bytes: int) -> None:
    """Decode without keeping anything; raise `Damage` above the cap."""
    size = 0
    with _ForwardFile(io.BytesIO(data)) as source:
        while len(more := source.read(out=block)):
            size += more.nbytes
            _check_size(size, max_bytes)


def _before_a_tail(data: bytes, declared: StreamInfo, dtype: np.dtype[Any], max_bytes: int | None) -> Audio | None:
    """Decode a FLAC with bytes after its last frame (an ID3v1 tag): only count and MD5 can say that it is whole."""
    try:
        audio = _decoded(data, declared, dtype, max_bytes)
    except soundfile.LibsndfileError:
        return None
    whole = declared.md5_known and audio.md5 == declared.md5 and audio.frames == declared.samples
    return audio if whole else None


def verify(audio: Audio) -> None:
    """Raise `Damage` if decoded audio is not what its header declares.

    `flac_truncated`: another number of samples (0 declared = unknown, not judged); `flac_md5`: another MD5 of the PCM
    (all zero = unknown, not judged).
    """
    declared = audio.declared
    if declared.samples and audio.frames != declared.samples:
        raise Damage("flac_truncated", f"{audio.frames} samples decoded, {declared.samples} declared")
    if declared.md5_known and audio.md5 != declared.md5:
        raise Damage("flac_md5", f"MD5 of the decoded PCM is {audio.md5}, {declared.md5} declared")


def encode(samples: Samples, rate: int, bits: int) -> bytes:
    """Encode integers as FLAC; STREAMINFO gets their count and MD5. The same input gives the same bytes.

    `samples`: shape (frames, channels), at least one frame, left-justified int16 for 8 and 16 bits, int32 for 24 bits
    (the bits below `bits` are cut off); `rate` in Hz. Raises ValueError on any other input, also on a rate that a FLAC
    frame cannot name.
    """
    _check_samples(samples, bits)
    if samples.ndim != 2 or samples.size == 0:
        raise ValueError(f"samples have shape {samples.shape}; give (frames, channels), at least one of each")
    target = io.BytesIO()
    # Level 0.0: smaller and faster than libsndfile's default on 16 kHz speech.
    options: dict[str, Any] = {"format": "FLAC", "subtype": _SUBTYPES[bits], "compression_level": 0.0}
    try:
        with soundfile.SoundFile(target, "w", rate, samples.shape[1], **options) as sink:
            sink.write(samples)
    except soundfile.LibsndfileError as error:
        what = f"{samples.shape[1]} channels at {rate} Hz"
        raise ValueError(f"FLAC cannot hold {what}: {error.error_string}") from error
    return target.getvalue()


def same(one: Samples, other: Samples, bits: int) -> bool:
    """Return whether two blocks of left-justified samples are the same audio of `bits` bits."""
    unused = other.dtype.itemsize * 8 - bits
    return np.array_equal(one >> unused, other >> unused)


def pcm_md5(samples: Samples, bits: int) -> str:
    """Return the MD5 that STREAMINFO would declare for `samples`: 32 lower-case hexadecimal digits.

    `samples` as for `encode`. FLAC hashes interleaved, signed, little-endian samples of `bits` bits (RFC 9639, 8.2).
    """
    _check_samples(samples, bits)
    digest = hashlib.md5(usedforsecurity=False)
    for start in range(0, len(samples), _HASHED_FRAMES):
        digest.update(_packed(samples[start : start + _HASHED_FRAMES], bits))
    return digest.hexdigest()


def _packed(block: Samples, bits: int) -> bytes | memoryview:
    """Return left-justified samples as FLAC packs them for its MD5."""
    unused = block.dtype.itemsize * 8 - bits
    if not unused:
        return np.ascontiguousarray(block, dtype="<i2").data.cast("B")
    little = np.ascontiguousarray(block >> unused, dtype="<i4").view(np.uint8)
    return little.reshape(-1, 4)[:, : bits // 8].tobytes()


def _without_count(data: bytes) -> bytes:
    """Return the FLAC with its sample count set to "unknown": the low 36 bits of bytes 18 to 25."""
    return data[:21] + bytes([data[21] & 0xF0]) + bytes(4) + data[26:]


def _check_size(size: int, max_bytes: int | None) -> None:
    """Raise `Damage("flac_too_large")` above the cap."""
    if max_bytes is not None and size > max_bytes:
        raise Damage("flac_too_large", f"{size} bytes of samples, at most {max_bytes} are allowed")


def _check_samples(samples: Samples, bits: int) -> None:
    """Raise ValueError unless dtype and bits belong together."""
    if bits not in _DTYPES or samples.dtype != _DTYPES[bits]:
        raise ValueError(f"samples are {samples.dtype} with {bits} bits; int16 holds 8 or 16 bits, int32 24 bits")

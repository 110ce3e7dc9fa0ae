"""Audio files that lie, each with the code of its refusal."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from resplice.io.audio import encode
from resplice.transforms.flac import HEAD

RATE = 16_000
LIMIT = 1024 << 19
"""Bytes of decoded audio that the default settings allow."""
UNKNOWN = "0" * 32


def noise(frames: int, channels: int = 1, bits: int = 16, seed: int = 0) -> NDArray[Any]:
    dtype: type[np.int16] | type[np.int32] = np.int32 if bits == 24 else np.int16
    width = np.dtype(dtype).itemsize * 8
    values = np.random.default_rng(seed).integers(-(2 ** (bits - 1)), 2 ** (bits - 1), (frames, channels))
    return (values << (width - bits)).astype(dtype)


def with_count(data: bytes, samples: int) -> bytes:
    packed = int.from_bytes(data[18:26], "big") >> 36 << 36 | samples
    return data[:18] + packed.to_bytes(8, "big") + data[26:]


def with_md5(data: bytes, md5: str) -> bytes:
    return data[:26] + bytes.fromhex(md5) + data[42:]


def with_head(data: bytes, position: int, value: int) -> bytes:
    return data[:position] + bytes([value]) + data[position + 1 :]


def wav() -> bytes:
    file = io.BytesIO()
    soundfile.write(file, noise(100), RATE, format="WAV")
    return file.getvalue()


def ogg() -> bytes:
    """Return the first page of a FLAC in an Ogg container, enough to be taken for one."""
    return b"OggS\0\2" + bytes(8) + b"\1\0\0\0" + bytes(8) + b"\1\x33\x7fFLAC\1\0\0\1" + FLAC


def silence(gigabytes: float, count: int | None = None) -> bytes:
    """Return a FLAC of digital silence, some ten kilobytes a gigabyte; `count`: what it declares, None: the truth."""
    frames = round(gigabytes * 2**30 / 2 / 65535)
    head = FLAC[:8] + b"\xff\xff\xff\xff" + bytes(6) + FLAC[18:26] + bytes(16)
    data = b"".join(_silent_frame(number) for number in range(frames))
    return with_count(with_head(head, 4, 0x80), frames * 65535 if count is None else count) + data


def _silent_frame(number: int) -> bytes:
    """Return a frame of 65,535 zeros (RFC 9639, section 9): 16 bits, mono, the rate that STREAMINFO names."""
    coded = chr(number).encode("utf-8", "surrogatepass")
    head = b"\xff\xf8\x70\x08" + coded + (65535 - 1).to_bytes(2, "big")
    body = head + bytes([_crc(head, 8, 0x07)]) + bytes(3)
    return body + _crc(body, 16, 0x8005).to_bytes(2, "big")


def _crc(data: bytes, width: int, polynomial: int) -> int:
    value = 0
    for byte in data:
        value ^= byte << width - 8
        for _ in range(8):
            value = (value << 1 ^ (polynomial if value >> width - 1 & 1 else 0)) & (1 << width) - 1
    return value


FRAMES = 20_000
SAMPLES = noise(FRAMES)
FLAC = encode(SAMPLES, RATE, 16)
ANONYMOUS = with_md5(FLAC, UNKNOWN)


def frame_starts() -> list[int]:
    """Give some places between two FLAC frames: there, only the sample count tells that something is missing."""
    found = []
    for number in range(1, 6):
        found.append(FLAC.index(b"\xff\xf8" + FLAC[FLAC.index(b"\xff\xf8") + 2 :][:2] + bytes([number])))
    return found


DAMAGES: dict[str, tuple[str, bytes | Callable[[], bytes]]] = {
    "empty": ("flac_header", b""),
    "magic only": ("flac_header", b"fLaC"),
    "41 bytes": ("flac_header", FLAC[:41]),
    "WAV renamed": ("flac_header", wav()),
    "Ogg": ("flac_header", b"OggS" + FLAC[4:]),
    "ID3 in front": ("flac_header", b"ID3\4\0\0\0\0\0\0" + FLAC),
    "other block first": ("flac_header", with_head(FLAC, 4, 4)),
    "STREAMINFO of 35 bytes": ("flac_header", with_head(FLAC, 7, 35)),
    "rate 0": ("flac_header", FLAC[:18] + bytes(2) + with_head(FLAC, 20, FLAC[20] & 0x0F)[20:]),
    "20 bits": ("flac_header", with_head(with_head(FLAC, 20, FLAC[20] | 1), 21, 0x30 | FLAC[21] & 0x0F)),
    "header only": ("flac_truncated", FLAC[:HEAD]),
    "last byte missing": ("flac_truncated", FLAC[:-1]),
    "zeros instead of the rest": ("flac_truncated", FLAC[: len(FLAC) // 2] + bytes(len(FLAC) // 2)),
    "bytes behind the end": ("flac_truncated", FLAC + b"TAG" + bytes(125)),
    "cut inside the first frame": ("flac_truncated", FLAC[:8300]),
    "a bit of the first frame": ("flac_truncated", with_head(FLAC, 9000, FLAC[9000] ^ 1)),
    "header says 8 channels": ("flac_truncated", with_head(FLAC, 20, FLAC[20] | 0x0E)),
    "header says 24 bits": ("flac_md5", with_head(with_head(FLAC, 20, FLAC[20] | 1), 21, 0x70 | FLAC[21] & 0x0F)),
    "header says half": ("flac_truncated", with_count(FLAC, FRAMES // 2)),
    "header says half, no MD5": ("flac_truncated", with_count(ANONYMOUS, FRAMES // 2)),
    "header says one less": ("flac_truncated", with_count(ANONYMOUS, FRAMES - 1)),
    "header says one more": ("flac_truncated", with_count(ANONYMOUS, FRAMES + 1)),
    "other MD5": ("flac_md5", with_md5(FLAC, "1" * 32)),
    "other MD5, no count": ("flac_md5", with_count(with_md5(FLAC, "1" * 32), 0)),
    "cut between frames, no count": ("flac_md5", with_count(FLAC, 0)[: frame_starts()[2]]),
    "WAV of 4 GiB, as it says": ("flac_header", wav()[:4] + b"\xff" * 4 + wav()[8:]),
    "WAV whose data are longer than it": ("flac_header", wav()[:40] + b"\xf0\xff\xff\x7f" + wav()[44:]),
    "WAV whose format is 0 bytes": ("flac_header", wav()[:16] + bytes(4) + wav()[20:]),
    "Ogg FLAC": ("flac_header", ogg()),
    "1 bit": ("flac_header", with_head(with_head(FLAC, 20, FLAC[20] & 0xFE), 21, FLAC[21] & 0x0F)),
    "MP3": ("flac_header", b"\xff\xfb\x90\x64" + bytes(400)),
    "noise": ("flac_header", bytes(range(256)) * 40),
    "1 GiB of silence": ("flac_too_large", lambda: silence(1)),
    "1 GiB of silence, no count": ("flac_too_large", lambda: silence(1, 0)),
    "1 GiB of silence, header says 10 samples": ("flac_too_large", lambda: silence(1, 10)),
    "1 GiB of silence, header says 60 s": ("flac_too_large", lambda: silence(1, 60 * RATE)),
    "1 MiB of silence, header says 3 s": ("flac_truncated", lambda: silence(1 / 1024, 3 * RATE)),
    "header says 512 GiB": ("flac_too_large", with_count(with_head(FLAC, 20, FLAC[20] | 0x0E), 2**36 - 1)),
    "header says 128 GiB": ("flac_too_large", with_count(FLAC, 2**36 - 1)),
    "header says just the cap": ("flac_truncated", with_count(FLAC, LIMIT // 2)),
}

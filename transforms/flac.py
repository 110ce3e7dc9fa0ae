"""What a FLAC says about itself: the STREAMINFO block, read without decoding.

Layout: RFC 9639, section 8.2. Four bytes `fLaC`, a block header of 4 bytes, then 34 bytes: block and frame sizes
(10 bytes), 20 bits rate, 3 bits channels - 1, 5 bits depth - 1, 36 bits sample count, 16 bytes MD5.
"""

from __future__ import annotations

from dataclasses import dataclass

from resplice.transforms.records import Damage

HEAD = 42
"""Bytes that hold the magic and the whole STREAMINFO block."""

_MAGIC = b"fLaC"
_STREAMINFO, _STREAMINFO_BYTES = 0, 34
_UNKNOWN_MD5 = "0" * 32


@dataclass(frozen=True)
class StreamInfo:
    """What the header declares: rate in Hz, bits a sample, samples per channel (0 = unknown), MD5 of the PCM.

    `md5` is 32 lower-case hexadecimal digits; 32 zeros mean that the encoder did not know it.
    """

    rate: int
    channels: int
    bits: int
    samples: int
    md5: str

    @property
    def md5_known(self) -> bool:
        """Return whether the MD5 says anything."""
        return self.md5 != _UNKNOWN_MD5

    @property
    def duration_s(self) -> float | None:
        """Return the declared length in seconds, or None if the sample count is unknown."""
        return self.samples / self.rate if self.samples else None


def parse_streaminfo(head: bytes) -> StreamInfo:
    """Read STREAMINFO from the first `HEAD` bytes of a FLAC (more may follow).

    Raises `Damage("flac_header")` if they are not the FLAC magic and a whole STREAMINFO block, or if the rate is 0 or
    the depth below 4 bits, which the format forbids for audio.
    """
    if len(head) < HEAD:
        raise Damage("flac_header", f"{len(head)} bytes where a FLAC header has {HEAD}")
    if head[:4] != _MAGIC:
        raise Damage("flac_header", f"begins with {head[:4]!r} instead of {_MAGIC!r}")
    kind, length = head[4] & 0x7F, int.from_bytes(head[5:8], "big")
    if (kind, length) != (_STREAMINFO, _STREAMINFO_BYTES):
        raise Damage("flac_header", f"first block has type {kind} and {length} bytes; STREAMINFO has type 0 and 34")
    packed = int.from_bytes(head[18:26], "big")
    rate, bits = packed >> 44, (packed >> 36 & 0x1F) + 1
    if rate == 0 or bits < 4:
        raise Damage("flac_header", f"declares {rate} Hz and {bits} bits; audio has at least 1 Hz and 4 bits")
    return StreamInfo(rate, (packed >> 41 & 0x7) + 1, bits, packed & 0xFFFFFFFFF, head[26:42].hex())

"""Tier-1 validation of one spoken chunk: the measures of the recovery's `signal` engine against its text's length."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from resplice.transforms.chunks import FAILED, SUCCESS, chunk_id
from resplice.transforms.records import Damage, Reason
from resplice.transforms.settings import Synthesis

VALID = "valid"
TIER = 1
GAP_DBFS = -40.0
"""A 10 ms frame whose RMS is below it is silent."""
TOO_QUIET_DBFS = -40.0
_HEAD = 12
_FMT = 40
"""The bytes of the longest format chunk of PCM; nothing behind them matters."""
_IN_DS64 = 0xFFFFFFFF
"""The length of data of which a chunk before them, ds64, tells the length (EBU Tech 3306)."""
_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_BITS = {_PCM: (8, 16, 24, 32), _FLOAT: (32, 64)}
_MOST_PARTS = 1000


def est_dur(chars: int, cpm: float) -> float:
    """Return the seconds that a text of so many characters is estimated at, at least 1."""
    return max(1.0, chars / cpm * 60)


def allowed_s(expected_s: float, tolerance_s: float) -> float:
    """Return by how many seconds a duration may differ from the expected one."""
    share = 0.8 if expected_s < 20 else 0.25 if expected_s < 60 else 0.2
    return max(tolerance_s, share * expected_s)


def verdict(measures: Mapping[str, Any], chars: int, limits: Synthesis) -> tuple[str, dict[str, Any]]:
    """Return why a spoken chunk fails ("valid": it does not), the first reason that holds, and what was compared.

    Args:
        measures: `duration_s`, `rms_dbfs`, `peak_dbfs` and `longest_gap_s` of `transforms.signal.measure`, taken with
            `GAP_DBFS`; seconds and absolute dBFS.
        chars: length of the text, in characters.
        limits: the settings `[synthesis]`.
    """
    seconds, rms, gap = (float(measures[name]) for name in ("duration_s", "rms_dbfs", "longest_gap_s"))
    expected = chars / limits.cpm * 60
    allowed = allowed_s(expected, limits.tolerance_s)
    details = {
        "actual_duration": seconds, "expected_duration": expected, "difference": abs(expected - seconds),
        "allowed_tolerance": allowed, "max_silence_gap": gap, "silence_gap_s": limits.silence_gap_s,
        "silence_gap_dbfs": GAP_DBFS, "rms_dbfs": rms, "peak_dbfs": float(measures["peak_dbfs"]),
        "too_short_s": limits.too_short_s, "validation_mode": limits.level, **_levels(limits),
    }  # fmt: skip
    checks = (
        (Reason.DURATION_MISMATCH, abs(expected - seconds) > allowed),
        (Reason.SILENCE_GAP, gap > limits.silence_gap_s),
        *_level_checks(rms, limits),
        (Reason.TOO_SHORT, seconds < limits.too_short_s),
    )
    return next((str(reason) for reason, fails in checks if fails), VALID), details


def _levels(limits: Synthesis) -> dict[str, float]:
    if limits.level == "legacy":
        return {"too_quiet_dbfs": TOO_QUIET_DBFS}
    return {"rms_min_dbfs": limits.rms_min_dbfs, "rms_max_dbfs": limits.rms_max_dbfs}


def _level_checks(rms: float, limits: Synthesis) -> tuple[tuple[Reason, bool], ...]:
    if limits.level == "legacy":
        return ((Reason.TOO_QUIET, rms < TOO_QUIET_DBFS),)
    return (Reason.RMS_TOO_LOW, rms < limits.rms_min_dbfs), (Reason.RMS_TOO_HIGH, rms > limits.rms_max_dbfs)


def wav_frames(read: Callable[[int, int], bytes], size: int) -> int | None:
    """Return the frames of a WAV file (RIFF or RF64) of PCM or floats by its header; nothing is decoded.

    Every byte of PCM is a sample, so that a file which is as long as its header says can be decoded. `read` returns so
    many bytes from an offset on, fewer at the end; `size` is that of the file, in bytes. None: it is of another kind,
    of which only a decoder can tell. Raises `Damage` with `wav_header` (no data, or before their format) or
    `wav_truncated` (shorter than its header says).
    """
    head = read(0, _HEAD)
    if head[:4] not in (b"RIFF", b"RF64") or head[8:] != b"WAVE":
        return None
    at, fmt, long = _HEAD, b"", 0
    for _ in range(_MOST_PARTS):
        part = read(at, 8 + _FMT)
        if len(part) < 8:
            raise Damage("wav_header", "no data chunk")
        name, length = struct.unpack_from("<4sI", part)
        body = part[8 : 8 + length]
        if name == b"data":
            return _frames(long if length == _IN_DS64 and long else length, fmt, size - at - 8)
        if name == b"ds64" and len(body) >= 16:
            long = struct.unpack_from("<Q", body, 8)[0]
        if name == b"fmt ":
            fmt = body
        at += 8 + length + length % 2
    raise Damage("wav_header", "too many chunks before the data")


def _frames(length: int, fmt: bytes, there: int) -> int | None:
    if not fmt:
        raise Damage("wav_header", "its data come before their format")
    if length > there:
        raise Damage("wav_truncated", f"{max(there, 0)} bytes of audio, its header says {length}")
    block = _block(fmt)
    return None if block is None else length // block


def _block(fmt: bytes) -> int | None:
    """Return the bytes of a frame (a sample of each channel) of PCM or floats; None for another format."""
    if len(fmt) < 16:
        return None
    kind, channels, rate, _, block, bits = struct.unpack_from("<HHIIHH", fmt)
    if kind == _EXTENSIBLE and len(fmt) >= 26:
        kind = struct.unpack_from("<H", fmt, 24)[0]
    if bits not in _BITS.get(kind, ()) or not channels or not rate or block != channels * bits // 8:
        return None
    return int(block)


@dataclass(frozen=True)
class Attempt:
    """What one engine made of a chunk: `reason` is "valid", or why not; `seconds` is how long the engine took.

    `details` are thresholds and measures, of audio that could be measured; `audio_s` is its length.
    """

    engine: str
    voice: str
    reason: str
    detail: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def audio_s(self) -> float:
        """Return the seconds of audio that were measured, 0 without any."""
        return float(self.details.get("actual_duration", 0.0))

    def __str__(self) -> str:
        return f"{self.engine} ({self.voice}): {self.reason}" + (f": {self.detail}" if self.detail else "")


_EXPLAINED: dict[str, str] = {
    Reason.DURATION_MISMATCH: "{actual_duration:.2f} s, expected {expected_duration:.2f} ± {allowed_tolerance:.2f} s",
    Reason.SILENCE_GAP: "{max_silence_gap:.2f} s below {silence_gap_dbfs:g} dBFS, at most {silence_gap_s:g} s",
    Reason.RMS_TOO_LOW: "{rms_dbfs:.1f} dBFS, at least {rms_min_dbfs:g}",
    Reason.RMS_TOO_HIGH: "{rms_dbfs:.1f} dBFS, at most {rms_max_dbfs:g}",
    Reason.TOO_QUIET: "{rms_dbfs:.1f} dBFS, at least {too_quiet_dbfs:g}",
    Reason.TOO_SHORT: "{actual_duration:.2f} s, at least {too_short_s:g}",
}


def explained(reason: str, details: Mapping[str, Any]) -> str:
    """Return what a verdict compared, for people: both sides."""
    return _EXPLAINED.get(reason, "").format(**details)


def row(
    number: int, chars: int, limits: Synthesis, attempts: Sequence[Attempt], before: int, *,
    audio_path: str | None = None, audio_sha256: str | None = None, text_sha256: str | None = None, why: str = "",
) -> dict[str, Any]:  # fmt: skip
    """Return the row of a chunk for pipeline.json, after the last of the engines that were asked for it.

    `before` is how many attempts earlier runs made; `why` is the reason of a chunk for which none was asked.
    """
    last = attempts[-1] if attempts else Attempt("", "", why)
    failed = [attempt for attempt in attempts if attempt.reason != VALID]
    return {
        "chunk_id": chunk_id(number),
        "text_len": chars,
        "est_dur": est_dur(chars, limits.cpm),
        "engine": last.engine or None,
        "voice": last.voice or None,
        "audio_path": audio_path,
        "status": SUCCESS if last.reason == VALID else FAILED,
        "validation_tier": TIER,
        "validation_reason": last.reason,
        "validation_details": {**last.details, **({"detail": last.detail} if last.detail else {})},
        "attempts": before + len(attempts),
        "errors": [str(attempt) for attempt in failed],
        "audio_sha256": audio_sha256,
        "text_sha256": text_sha256,
    }

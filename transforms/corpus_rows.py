"""The rows of a vmaf-tune corpus, version 3: one a clip, 54 keys, from the JSON log of libvmaf (ADR-0670: BVI-DVC)."""

from __future__ import annotations

import hashlib
import re
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from resplice.transforms import vmaf
from resplice.transforms.records import Damage, Reason, Refusal
from resplice.transforms.vmaf import CANONICAL, VMAF, Frames

VERSION = 3
_NAME = re.compile(r"(?P<name>.+?)_(?P<width>\d+)x(?P<height>\d+)_(?P<fps>\d+(?:\.\d+)?)fps(?:_.*)?", re.DOTALL)
_TEXTS = ("encoder_version", "extra_params", "encode_path", "ffmpeg_version", "vmaf_binary_version", "hdr_transfer",
          "hdr_primaries")  # fmt: skip
_COUNTS = ("encode_size_bytes", "encode_time_ms", "score_time_ms", "exit_status", "shot_count")
_MEASURES = ("bitrate_kbps", "shot_avg_duration_sec", "shot_duration_std_sec", *(
    f"enc_internal_{name}" for name in ("qp_mean", "qp_std", "bits_mean", "bits_std", "mv_mean", "mv_std", "itex_mean",
                                        "ptex_mean", "intra_ratio", "skip_ratio")
))  # fmt: skip
UNAVAILABLE: dict[str, Any] = {
    **dict.fromkeys(_TEXTS, ""),
    **dict.fromkeys(_COUNTS, 0),
    **dict.fromkeys(_MEASURES, 0.0),
}
"""What a log cannot tell → how the rows of before said so."""


@dataclass(frozen=True)
class Clip:
    """What the name of a log tells of its clip."""

    key: str
    width: int
    height: int
    fps: float


@dataclass(frozen=True)
class Labels:
    """What all rows of a corpus share: how its clips were encoded and scored, and the run that made the rows."""

    encoder: str
    preset: str
    crf: int
    pix_fmt: str
    vmaf_model: str
    run_id: str
    timestamp: str
    legacy_defaults: bool = False


def clip(stem: str) -> Clip:
    """Return the clip that a log is named after, `<Name>_<W>x<H>_<N>fps_…`. Raises Refusal bad_name."""
    found = _NAME.fullmatch(stem)
    if found is None:
        raise Refusal(Reason.BAD_NAME, "a log is named <Name>_<W>x<H>_<N>fps_….json")
    made = Clip(stem, int(found["width"]), int(found["height"]), float(found["fps"]))
    if not (made.width and made.height and made.fps):
        raise Refusal(Reason.BAD_NAME, f"{found['width']}x{found['height']} at {found['fps']} fps is no clip")
    return made


def row(of: Clip, log: Any, labels: Labels) -> dict[str, Any]:
    """Return the row of a clip. Raises Damage log_invalid, and Refusal no_frames."""
    frames = vmaf.frames(log)
    if not frames:
        raise Refusal(Reason.NO_FRAMES, "the log has no frames")
    pooled = log.get("pooled_metrics") or {}
    if not isinstance(pooled, dict):
        raise Damage("log_invalid", "pooled_metrics is no object")
    scores: dict[str, float | None] = {"vmaf_score": _mean(pooled, frames, VMAF)}
    for feature in CANONICAL:
        scores[f"{feature}_mean"] = _mean(pooled, frames, feature)
        scores[f"{feature}_std"] = _std(pooled, frames, feature)
    return {**_described(of, len(frames), labels), **scores}


def _described(of: Clip, frames: int, labels: Labels) -> dict[str, Any]:
    return {
        **(UNAVAILABLE if labels.legacy_defaults else dict.fromkeys(UNAVAILABLE)),
        "schema_version": VERSION,
        "run_id": labels.run_id,
        "timestamp": labels.timestamp,
        "src": f"bvi-dvc:{of.key}",
        "src_sha256": hashlib.sha256(of.key.encode()).hexdigest(),
        "width": of.width,
        "height": of.height,
        "framerate": of.fps,
        "pix_fmt": labels.pix_fmt,
        "encoder": labels.encoder,
        "preset": labels.preset,
        "crf": labels.crf,
        "duration_s": frames / of.fps,
        "vmaf_model": labels.vmaf_model,
        "clip_mode": "full",
        "hdr_forced": False,
    }


def _pool(pooled: Mapping[str, Any], feature: str) -> Mapping[str, Any]:
    """Return the pooled values of a feature, {} without any."""
    found = pooled.get(vmaf.named(pooled, feature) or "") or {}
    if not isinstance(found, dict):
        raise Damage("log_invalid", f"pooled_metrics.{feature} is no object")
    return found


def _mean(pooled: Mapping[str, Any], frames: Frames, feature: str) -> float | None:
    pool = _pool(pooled, feature)
    if "mean" in pool:
        return vmaf.number(pool["mean"], f"pooled_metrics.{feature}.mean")
    return _of_all(statistics.fmean, frames, feature)


def _std(pooled: Mapping[str, Any], frames: Frames, feature: str) -> float | None:
    """Return the standard deviation of the population, which one frame makes 0."""
    pool = _pool(pooled, feature)
    if "stddev" in pool:
        return vmaf.number(pool["stddev"], f"pooled_metrics.{feature}.stddev")
    return _of_all(statistics.pstdev, frames, feature)


def _of_all(pool: Callable[[list[float]], float], frames: Frames, feature: str) -> float | None:
    """Return what the values of all frames amount to; None where a frame has none, or no float can hold it."""
    values = [value for value in vmaf.column(frames, feature) or [] if value is not None]
    try:
        return pool(values) if values and len(values) == len(frames) else None
    except OverflowError:
        return None

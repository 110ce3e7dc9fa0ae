"""What libvmaf tells of the frames of a pair, by the names that corpora use (JSON log of Netflix's libvmaf)."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from resplice.transforms.records import Damage

Frames = Sequence[Mapping[str, float | None]]
"""The metrics of each frame, by libvmaf's own names; null for what is no number."""
Columns = dict[str, list[float | None]]

VMAF = "vmaf"
CANONICAL = ("adm2", "vif_scale0", "vif_scale1", "vif_scale2", "vif_scale3", "motion2")
FULL_FEATURES = (
    "adm2", "adm_scale0", "adm_scale1", "adm_scale2", "adm_scale3", "vif_scale0", "vif_scale1", "vif_scale2",
    "vif_scale3", "motion", "motion2", "motion3", "psnr_y", "psnr_cb", "psnr_cr", "float_ssim", "float_ms_ssim",
    "cambi", "ciede2000", "psnr_hvs", "ssimulacra2", "speed_temporal", "speed_chroma_u", "speed_chroma_v",
    "speed_chroma_uv", "adm3",
)  # fmt: skip
EXTRACTORS: dict[str, tuple[str, ...]] = {
    "adm": ("adm2", "adm_scale0", "adm_scale1", "adm_scale2", "adm_scale3", "adm3"),
    "vif": ("vif_scale0", "vif_scale1", "vif_scale2", "vif_scale3"),
    "motion": ("motion2", "motion3"),
    "float_motion": ("motion",),
    "psnr": ("psnr_y", "psnr_cb", "psnr_cr"),
    "float_ssim": ("float_ssim",),
    "float_ms_ssim": ("float_ms_ssim",),
    "cambi": ("cambi",),
    "ciede": ("ciede2000",),
    "psnr_hvs": ("psnr_hvs",),
    "ssimulacra2": ("ssimulacra2",),
    "speed_temporal": ("speed_temporal",),
    "speed_chroma": ("speed_chroma_u", "speed_chroma_v", "speed_chroma_uv"),
}
"""Extractor of libvmaf → the features that it computes."""


def frames(log: Any) -> list[dict[str, float | None]]:
    """Return the metrics of each frame of a log in the order of their numbers. Raises Damage log_invalid."""
    listed = log.get("frames", []) if isinstance(log, dict) else None
    if not isinstance(listed, list):
        raise Damage("log_invalid", "it has no list of frames")
    return [_metrics(frame) for frame in sorted(listed, key=_number)]


def _number(frame: Any) -> int:
    number = frame.get("frameNum") if isinstance(frame, dict) else None
    if not isinstance(number, int) or isinstance(number, bool):
        raise Damage("log_invalid", f"a frame has no frameNum: {str(frame)[:80]}")
    return number


def _metrics(frame: Mapping[str, Any]) -> dict[str, float | None]:
    metrics = frame.get("metrics")
    if not isinstance(metrics, dict):
        raise Damage("log_invalid", f"frame {frame['frameNum']} has no metrics")
    return {name: number(value, name) for name, value in metrics.items()}


def number(value: Any, name: str) -> float | None:
    """Return a number of a log; None for null and what no float holds. Raises Damage log_invalid for anything else."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Damage("log_invalid", f"{name} is {str(value)[:40]!r}, which is no number")
    return float(value) if abs(value) <= sys.float_info.max else None


def named(names: Mapping[str, Any], feature: str) -> str | None:
    """Return the name that a log has for a feature: the plain one, else `integer_…`, else that with its options."""
    plain = (feature, f"integer_{feature}")
    with_options = (name for name in names if name.startswith(f"integer_{feature}_"))
    return next((name for name in (*plain, *with_options) if name in names), None)


def column(told: Frames, feature: str) -> list[float | None] | None:
    """Return the values of a feature, None if no frame has one."""
    name = next((found for frame in told if (found := named(frame, feature))), None)
    values = [frame.get(name) for frame in told] if name else []
    return values if any(value is not None for value in values) else None


def columns(told: Frames, features: Sequence[str]) -> Columns:
    """Return the values of those features that the frames have."""
    return {name: values for name in features if (values := column(told, name)) is not None}

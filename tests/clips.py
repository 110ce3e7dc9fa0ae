"""Small videos made by ffmpeg itself, in folders of the form that the commands for corpora read."""

from __future__ import annotations

import functools
import json
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest

from resplice.io import ffmpeg

FFMPEG = pytest.importorskip("imageio_ffmpeg").get_ffmpeg_exe()
MOVING = "testsrc2=s={size}:r={rate}"


def video(path: Path, size: str = "64x48", frames: int = 5, rate: int = 25, *more: str) -> Path:
    """Write a moving picture; a name that ends with .yuv or .y4m is raw."""
    path.parent.mkdir(parents=True, exist_ok=True)
    source = ["-f", "lavfi", "-i", MOVING.format(size=size, rate=rate), "-frames:v", str(frames)]
    codec = ["-c:v", "libx264", "-threads", "1"] if path.suffix == ".mp4" else []
    words = [FFMPEG, "-v", "error", "-y", *source, "-pix_fmt", "yuv420p", *codec, *more, str(path)]
    subprocess.run(words, check=True)
    return path


def konvid(root: Path, *names: str) -> Path:
    """Write clips of KoNViD-1k, each with other frames."""
    for number, name in enumerate(names):
        video(root / "KoNViD_1k_videos" / f"{name}.mp4", frames=5 + number)
    return root


def pair(root: Path, source: str = "Src_a", size: str = "64x48", suffix: str = "mp4", quality: int = 40) -> Path:
    """Write a reference and its distorted file; return the folder of both."""
    reference = video(root / "ref" / f"{source}_25fps.{suffix}", size)
    more = ["-vf", "noise=alls=12:all_seed=7"] if suffix != "mp4" else ["-crf", str(quality)]
    video(root / "dis" / f"{source}_{quality}_48_100.{suffix}", size, 5, 25, *more)
    assert reference.stat().st_size
    return root


def wrapper(path: Path, script: str) -> str:
    """Write a program that does something of its own before it is the real ffmpeg; `$@` are its words."""
    path.write_text(f'#!/bin/sh\n{script}\nexec {FFMPEG} "$@"\n')
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


@functools.cache
def truncated() -> bytes:
    """Return an mp4 whose index is at its front, cut in the middle of its frames."""
    with tempfile.TemporaryDirectory() as made:
        whole = video(Path(made, "whole.mp4"), "320x240", 30, 25, "-movflags", "+faststart")
        return whole.read_bytes()[: whole.stat().st_size * 2 // 3]


def sidecar(out: Path) -> dict[str, Any]:
    """Return the sidecar of an artifact."""
    value: dict[str, Any] = json.loads(Path(f"{out}.manifest.json").read_text("utf-8"))
    return value


def copy(source: Path, target: Path) -> Path:
    """Copy a file, its folder made."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)
    return target


def counted(path: Path) -> int:
    """Return the frames of a video, decoded by the tool."""
    found = ffmpeg.Tool(FFMPEG, "", "", "", 60.0)
    return ffmpeg.counted(found, ffmpeg.Video(str(path)))[2]

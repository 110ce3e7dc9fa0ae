"""Pairs of a reference and a distorted file: every feature of libvmaf, each extractor on a call of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from resplice.io import ffmpeg
from resplice.io.cached import Cache
from resplice.io.extracting import PASSING, Result, Task
from resplice.io.ffmpeg import Tool, Video
from resplice.transforms import pairs, vmaf
from resplice.transforms.records import Reason, Refusal
from resplice.transforms.vmaf import EXTRACTORS, FULL_FEATURES, VMAF, Columns

STAGE = "full-features"
TEACHER = "vmaf_v0.6.1"
_TEXTS = ("codec", "teacher_model")
SCHEMA = pa.schema(
    [("source", pa.string()), ("dis_basename", pa.string()), ("frame_index", pa.int64()),
     *((name, pa.string()) for name in _TEXTS), *((name, pa.float64()) for name in (VMAF, *FULL_FEATURES))]
)  # fmt: skip
CALLS: dict[str, tuple[str, ...]] = {TEACHER: (VMAF,), **EXTRACTORS}
"""What is asked for → the columns that it fills; the first is the model, all others are extractors."""


@dataclass(frozen=True)
class Score:
    """Score a pair: task (reference, distorted; `fps`) → its frames. Picklable."""

    tool: Tool
    size: tuple[int, int] | None
    cache: Cache

    def key(self, task: Task, asked: str) -> dict[str, Any]:
        """Return all that one call depends on."""
        size = self.size if any(pairs.is_raw(file.path) for file in task.files) else None
        return {"made": STAGE, "sha256": [file.sha256 for file in task.files], "fps": task.facts["fps"], "size": size,
                "asked": asked, "columns": CALLS.get(asked, ()), "tools": self.tool.identity}  # fmt: skip

    def __call__(self, task: Task) -> Result:
        """Return the frames of a pair; an extractor that fails costs its columns.

        Raises Refusal: unreadable, no_frames, size_mismatch; that of the model if every call failed.
        """
        frames = self._frames(task)
        columns: Columns = {}
        failed: dict[str, tuple[str, str]] = {}
        for asked in CALLS:
            told = self._told(task, asked, frames)
            if "failed" in told:
                failed[asked] = tuple(told["failed"])
            else:
                columns |= told["columns"]
        if not columns:
            reason, detail = failed.get(TEACHER, (str(Reason.ENGINE_FAILED), "no extractor gave a value"))
            raise Refusal(Reason(reason), detail)
        return Result(frames, columns, failed)

    def _videos(self, task: Task) -> tuple[Video, Video]:
        reference, distorted = (Video(file.path, task.facts["fps"], self.size) for file in task.files)
        return reference, distorted

    def _frames(self, task: Task) -> int:
        """Return the frames of the shorter file."""
        key = self.key(task, "frames")
        if isinstance(known := self.cache.get(key), int):
            return known
        (*size, of_reference), (*other, of_distorted) = (ffmpeg.counted(self.tool, v) for v in self._videos(task))
        if size != other:
            raise Refusal(
                Reason.SIZE_MISMATCH, "the reference is {}x{}, the distorted file {}x{}".format(*size, *other)
            )
        frames = min(of_reference, of_distorted)
        self._keep(task, key, frames)
        return frames

    def _told(self, task: Task, asked: str, frames: int) -> Mapping[str, Any]:
        """Return the columns of one call, or why it failed; from the cache, if it is there."""
        key = self.key(task, asked)
        if isinstance(known := self.cache.get(key), dict):
            return known
        try:
            told: dict[str, Any] = {"columns": self._scored(task, asked, frames)}
        except Refusal as refusal:
            told = {"failed": (str(refusal.reason), refusal.detail)}
            if refusal.reason in PASSING:
                return told
        self._keep(task, key, told)
        return told

    def _scored(self, task: Task, asked: str, frames: int) -> Columns:
        reference, distorted = self._videos(task)
        what = {"model": asked} if asked == TEACHER else {"feature": asked}
        told = ffmpeg.scored(self.tool, distorted, reference, **what)
        columns = vmaf.columns(told, CALLS[asked])
        if columns and len(told) != frames:
            raise Refusal(Reason.ENGINE_FAILED, f"libvmaf scored {len(told)} frames of {frames}")
        if not columns:
            raise Refusal(Reason.ENGINE_FAILED, "ffmpeg ended well, and the log of libvmaf has no value of it")
        return columns

    def _keep(self, task: Task, key: Mapping[str, Any], result: Any) -> None:
        for file in task.files:
            file.check()  # else values of other bytes would stand under these digests
        self.cache.put(key, result)

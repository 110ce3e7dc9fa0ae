"""Clips against themselves: each is encoded at a CRF and scored with libvmaf against its source (KoNViD-1k pairs)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from resplice.io import ffmpeg
from resplice.io.cached import Cache
from resplice.io.extracting import Result, Task
from resplice.io.ffmpeg import Tool, Video
from resplice.transforms import vmaf
from resplice.transforms.records import Reason, Refusal
from resplice.transforms.vmaf import VMAF

STAGE = "konvid-pairs"
FOLDER = "KoNViD_1k_videos"
FEATURES = ("vif_scale0", "vif_scale1", "vif_scale2", "vif_scale3", "adm2", "motion2")
SCHEMA = pa.schema(
    [("key", pa.string()), ("frame_index", pa.int64()), *((name, pa.float64()) for name in (*FEATURES, VMAF))]
)
_RATE = "25"  # decides nothing: both files are read at it, frame by frame


@dataclass(frozen=True)
class Pair:
    """Make the pair of a clip and score it: task → its frames. Picklable; `cache` is None without one."""

    tool: Tool
    crf: int
    model: str
    cache: Cache | None

    def key(self, sha256: str) -> dict[str, Any]:
        """Return all that the scores of a clip depend on."""
        return {"made": STAGE, "sha256": sha256, "crf": self.crf, "model": self.model, "features": [*FEATURES, VMAF],
                "tools": self.tool.identity}  # fmt: skip

    def __call__(self, task: Task) -> Result:
        """Return the scores of a clip. Raises Refusal: unreadable, no_frames, odd_size, engine_failed, crashed, …."""
        key = self.key(task.files[0].sha256)
        if self.cache and (known := self.cache.get(key)):
            return Result.from_json(known)
        made = self._made(task.files[0].path)
        if self.cache:
            task.files[0].check()  # else scores of other bytes would stand under this digest
            self.cache.put(key, made.__dict__)
        return made

    def _made(self, path: str) -> Result:
        width, height, frames = ffmpeg.counted(self.tool, Video(path))
        if width % 2 or height % 2:
            raise Refusal(Reason.ODD_SIZE, f"{width}x{height}: H.264 in 4:2:0 takes even sizes only")
        source = Video(path, _RATE)
        with ffmpeg.scratch() as folder:
            distorted = ffmpeg.encoded(self.tool, Video(path), self.crf, folder)
            told = ffmpeg.scored(self.tool, Video(distorted.path, _RATE), source, model=self.model)
        if len(told) != frames:
            raise Refusal(Reason.ENGINE_FAILED, f"libvmaf scored {len(told)} frames of {frames}")
        columns = vmaf.columns(told, (*FEATURES, VMAF))
        if missing := [name for name in (*FEATURES, VMAF) if name not in columns]:
            raise Refusal(Reason.ENGINE_FAILED, f"the log of libvmaf has no {', '.join(missing)}")
        return Result(frames, columns, {})

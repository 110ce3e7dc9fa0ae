"""Splitters, JSON writers and engines of third parties, well-behaved and not, as `[polish]`, `[repair]` name them."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from resplice.transforms import polish

__version__ = "7"
VICTIM_LENGTH = 0  # every original is a victim


def halves(samples: Any, rate: int, **settings: Any) -> list[tuple[int, int]]:
    return polish.split(samples, rate, silence_dbfs=settings["silence_dbfs"], pad_s=settings["pad_s"],
                        max_segment_s=settings["max_segment_s"], min_silence_s=settings["min_silence_s"])  # fmt: skip


def copies(samples: Any, rate: int, **settings: Any) -> list[Any]:
    return [samples[start:end].copy() for start, end in halves(samples, rate, **settings)]


def aborts(samples: Any, rate: int, **settings: Any) -> list[tuple[int, int]]:
    os.abort()


def sleeps(samples: Any, rate: int, **settings: Any) -> list[tuple[int, int]]:
    time.sleep(10_000)
    return []


def allocates(samples: Any, rate: int, **settings: Any) -> list[tuple[int, int]]:
    return [(0, len(bytearray(8 << 30)))]


def raises(samples: Any, rate: int, **settings: Any) -> list[tuple[int, int]]:
    raise KeyError("no such frame")


def fills(samples: Any, rate: int, **settings: Any) -> list[tuple[int, int]]:
    Path("/dev/full").write_bytes(b"x")
    return []


def outside(samples: Any, rate: int, **settings: Any) -> list[tuple[int, int]]:
    return [(0, len(samples) + 1)]


def old_json(segment: dict[str, Any]) -> bytes:
    return json.dumps({"text": segment["row"]["transcription"], "name": segment["stem"]}).encode()


def no_bytes(segment: dict[str, Any]) -> str:
    return "text"


class Engine:
    """An engine whose behaviour is its setting `does`."""

    name = "foreign"
    version = "3"

    def __init__(self, does: str = "passes") -> None:
        self.does = does

    def judge(self, samples: Any, rate: int, row: dict[str, Any]) -> tuple[str, list[str], dict[str, Any]]:
        if self.does == "aborts":
            os.abort()
        if self.does == "sleeps":
            time.sleep(10_000)
        if self.does == "allocates":
            bytearray(8 << 30)
        if self.does == "fills":
            Path("/dev/full").write_bytes(b"x")
        if self.does == "raises":
            raise RuntimeError("no model")
        return "passed", [], {"letters": len(str(row["transcription"])), "rate_hz": rate}


def gated(samples: Any, rate: int, **settings: Any) -> list[tuple[int, int]]:
    """Wait for the file that the setting `gate` names."""
    while not os.path.exists(settings["gate"]):  # noqa: PTH110
        time.sleep(0.01)
    return halves(samples, rate, **settings)

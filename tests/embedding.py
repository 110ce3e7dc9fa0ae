"""A small library of audio with bad files in it, and calls of `embed` on it."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import soundfile

from resplice.io import shards
from resplice.io.local import LocalStore
from resplice.pipelines.__main__ import main

RATE = 16000


def sound(number: int, seconds: float = 0.6, rate: int = RATE) -> np.ndarray:
    """Return a sound of its own for each number: a chord over a little noise, float32, shape (samples,)."""
    random, time = np.random.default_rng(number), np.arange(round(seconds * rate)) / rate
    tones = (np.sin(2 * np.pi * pitch * time) for pitch in random.uniform(100, 3000, 3))
    return (0.2 * sum(tones) + random.normal(0, 0.01, len(time))).astype(np.float32)


@dataclass(frozen=True)
class Music:
    """A folder with `music/`, where a test stands."""

    folder: Path

    @classmethod
    def make(cls, folder: Path, count: int, seconds: float = 0.6) -> Music:
        made = cls(folder)
        for number in range(count):
            made.write(f"track{number:03d}.flac", number, seconds)
        return made

    def path(self, name: str) -> Path:
        return self.folder / "music" / name

    def write(self, name: str, number: int, seconds: float = 0.6, rate: int = RATE) -> Path:
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(os.fsencode(path), sound(number, seconds, rate), rate)
        return path

    def arguments(self, *more: str, run: str = "r", given: Sequence[str] = ("music",)) -> list[str]:
        return ["embed", *given, "--run-id", run, "--quiet", *more]

    def __call__(self, *more: str, run: str = "r", given: Sequence[str] = ("music",)) -> int:
        return main(self.arguments(*more, run=run, given=given))

    @property
    def checkpoint(self) -> dict[str, Any]:
        return json.loads((self.folder / "data/embed_checkpoint.json").read_bytes())  # type: ignore[no-any-return]

    @property
    def counters(self) -> dict[str, int]:
        """Return what the checkpoint counts, without the counters that are 0."""
        return {name: count for name, count in self.checkpoint["counters"].items() if count}

    def failures(self) -> dict[str, tuple[str, str]]:
        """Return phase and reason of each file that failed, by its name."""
        lines = (self.folder / "data/embed_checkpoint_failed.jsonl").read_text("utf-8").splitlines()
        return {Path(line["path"]).name: (line["phase"], line["reason"]) for line in map(json.loads, lines)}

    @property
    def out(self) -> LocalStore:
        return LocalStore(str(self.folder / "data/embeddings"))

    def table(self) -> pa.Table:
        return shards.current(self.out)

    def vectors(self) -> dict[str, bytes]:
        """Return the bytes of each current vector by its key, relative to the folder."""
        table = self.table()
        keys = [key.removeprefix(f"{self.folder}/music/") for key in table.column("key").to_pylist()]
        found = np.asarray(table.column("vector").to_pylist(), np.float32)
        return {key: vector.tobytes() for key, vector in zip(keys, found, strict=True)}

    def shards(self) -> dict[str, bytes]:
        return {head.key: self.out.read(head.key) for head in self.out.list() if head.key.endswith(".parquet")}

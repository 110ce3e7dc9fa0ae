"""What `repair.py` measures resplice against: the same repair as a script written by hand, fast and for one corpus.

It holds a video in memory, believes every header, takes every original as split and stops at the first error.
"""

from __future__ import annotations

import hashlib
import io
import json
import multiprocessing
import sqlite3
import tarfile
from functools import partial
from pathlib import Path
from typing import Any

import soundfile

from resplice.transforms.polish import split  # so that both sides cut the same


def decode(flac: bytes) -> tuple[Any, int]:
    """Return samples (int16) and rate of a FLAC whose PCM has the MD5 that its STREAMINFO declares."""
    samples, rate = soundfile.read(io.BytesIO(flac), dtype="int16", always_2d=True)
    if hashlib.md5(samples).digest() != flac[26:42]:
        raise ValueError("MD5")
    return samples, rate


def encode(samples: Any, rate: int) -> bytes:
    """Return samples as FLAC, at the fastest level."""
    target = io.BytesIO()
    soundfile.write(target, samples, rate, "PCM_16", format="FLAC", compression_level=0.0)
    return target.getvalue()


def regenerate(video: str, name: str, flac: bytes, rows: dict[str, Any], files: dict[str, bytes]) -> None:
    """Cut one original; add the FLAC and the JSON of each piece to the files of the video."""
    samples, rate = decode(flac)
    for index, (start, end) in enumerate(split(samples, rate)):
        row, stem = rows.pop(f"{name}.flac_split{index}"), f"{name}_split{index}"
        if abs((end - start) / rate - row["duration_s"]) > 0.05:
            raise ValueError("duration")
        files[f"{video}/segments/{stem}.flac"] = encode(samples[start:end], rate)
        content = {"video_id": video, "segment_file": row["segment_file"], "stem": stem, "original": name,
                   "split_index": index, "start_s": start / rate, "end_s": end / rate, "row": row}  # fmt: skip
        files[f"{video}/transcriptions/{stem}.json"] = json.dumps(content, sort_keys=True).encode()


def repair(root: Path, out: Path, raw: Path) -> None:
    """Write the transcribed tar of one video, and read it back."""
    with sqlite3.connect(f"file:{root}/corpus.sqlite?mode=ro", uri=True) as database:
        database.row_factory = sqlite3.Row
        found = database.execute("select * from transcription_results where video_id = ?", [raw.stem]).fetchall()
    rows, files = {row["segment_file"]: dict(row) for row in found}, {"metadata.json": b"{}\n"}
    with tarfile.open(raw) as tar:
        for member in tar:
            regenerate(raw.stem, Path(member.name).stem, tar.extractfile(member).read(), rows, files)
    if rows:
        raise ValueError("rows without audio")
    with tarfile.open(out / f"{raw.stem}_transcribed.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in sorted(files.items()):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    with tarfile.open(out / f"{raw.stem}_transcribed.tar") as tar:
        back = {member.name: tar.extractfile(member).read() for member in tar}
    if back != files:
        raise ValueError("read back")
    for name in back:
        if name.endswith(".flac"):
            decode(back[name])


def run(root: Path, out: Path, workers: int) -> None:
    """Repair all videos of a corpus."""
    with multiprocessing.Pool(workers) as pool:
        for _ in pool.imap_unordered(partial(repair, root, out), sorted((root / "raw").glob("*.tar"))):
            pass

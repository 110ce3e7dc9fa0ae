"""Put the drafted videos where a corpus has them: tars, database, historical shards, configuration, truth."""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from resplice.pipelines.demo_video import Draft, Result, Row

BEGINNING = datetime(2024, 5, 1, 8, 0, 0)

CONFIG = """\
# The demo corpus. truth.json tells what is wrong with it and where every row must end.
[corpus]
raw = "raw"
transcribed = "transcribed"
validation = "validation"
workspace = "workspace"

[database]
url = "sqlite:///corpus.sqlite"
"""

TABLES = """
CREATE TABLE videos (
    video_id TEXT PRIMARY KEY, status TEXT, validation_status TEXT, updated_at DATETIME
);
CREATE TABLE transcription_results (
    id INTEGER PRIMARY KEY, video_id TEXT NOT NULL, segment_file TEXT NOT NULL, transcription TEXT, language TEXT,
    duration_s REAL, created_at DATETIME, model TEXT, meta JSON
);
CREATE INDEX rows_by_video ON transcription_results (video_id);
"""

STRING = pa.string()
FULL = pa.schema(
    {
        "video_id": STRING,
        "segment_file": STRING,
        "status": STRING,
        "rms_dbfs": pa.float64(),
        "chars": pa.int64(),
        "engine": STRING,
    }
)
SHARD_FILES: tuple[tuple[str, pa.Schema], ...] = (
    ("2023/export-000.parquet", pa.schema({"video_id": STRING, "segment_file": STRING})),
    (
        "2023/export-001.parquet",
        pa.schema(
            {
                "status": STRING,
                "chars": pa.int32(),
                "rms_dbfs": pa.float32(),
                "segment_file": STRING,
                "video_id": STRING,
            }
        ),
    ),
    ("2023/export-002.parquet", pa.schema({"video_id": STRING, "segment_file": STRING, "status": STRING})),
    ("2024/part-000.parquet", FULL),
    ("2024/part-001.parquet", FULL),
    ("2024/part-002.parquet", FULL),
    ("2024/part-003.parquet", FULL),
)


def write_tars(root: Path, draft: Draft) -> None:
    """Write the raw and the transcribed tar of a video, those that it has."""
    raw, transcribed = draft.raw_tar(), draft.transcribed_tar()
    if raw is not None:
        (root / "raw" / f"{draft.video_id}.tar").write_bytes(raw)
    if transcribed is not None:
        (root / "transcribed" / f"{draft.video_id}_transcribed.tar").write_bytes(transcribed)


def moment(number: int) -> str:
    """Return a time that is the same whenever the demo is written."""
    return str(BEGINNING + timedelta(seconds=17 * number))


def row_values(number: int, video_id: str, row: Row) -> tuple[Any, ...]:
    """Return a row of transcription_results in the order of its columns."""
    meta = json.dumps({"attempt": 1, "batch": number // 50})
    text = (row.segment_file, row.text, "en", row.duration_s)
    return (number, video_id, *text, moment(number), "asr-large", meta)


def write_database(path: Path, rows: Iterable[tuple[str, Row]], videos: Iterable[tuple[str, str | None]]) -> None:
    """Write corpus.sqlite from (video_id, row) and (video_id, validation_status)."""
    path.unlink(missing_ok=True)
    connection = sqlite3.connect(path)
    connection.executescript(TABLES)
    values = (row_values(number, video_id, row) for number, (video_id, row) in enumerate(rows, start=1))
    connection.executemany("INSERT INTO transcription_results VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", values)
    known = ((video_id, "transcribed", status, moment(number)) for number, (video_id, status) in enumerate(videos))
    connection.executemany("INSERT INTO videos VALUES (?, ?, ?, ?)", known)
    connection.commit()
    connection.close()


def measures(video_id: str, result: Result) -> dict[str, Any]:
    """Return a historical row with every column that some shard has."""
    mark = zlib.crc32(f"{video_id}/{result.segment_file}".encode())
    names = {"video_id": video_id, "segment_file": result.segment_file, "status": result.status}
    return {**names, "rms_dbfs": -18.0 - mark % 64 / 16, "chars": 20 + mark % 100, "engine": "signal"}


def write_shards(folder: Path, history: Iterable[tuple[str, Result]]) -> None:
    """Write the historical shards below `folder`, each with the columns of its time."""
    shards: list[list[dict[str, Any]]] = [[] for _ in SHARD_FILES]
    for video_id, result in history:
        shards[result.shard].append(measures(video_id, result))
    for (name, schema), found in zip(SHARD_FILES, shards, strict=True):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        columns = {column: [row[column] for row in found] for column in schema.names}
        pq.write_table(pa.table(columns, schema=schema), path, compression="zstd")


def write_json(path: Path, content: object) -> None:
    """Write strict JSON with sorted keys and a newline at the end."""
    text = json.dumps(content, sort_keys=True, allow_nan=False, ensure_ascii=False, indent=1) + "\n"
    unfinished = path.with_suffix(".part")
    unfinished.write_text(text, "utf-8")
    unfinished.replace(path)


def pairs(drafts: Iterable[tuple[str, list[Any]]]) -> Iterator[tuple[str, Any]]:
    """Yield (video_id, item) for each item of each video."""
    for video_id, items in drafts:
        for item in items:
            yield video_id, item

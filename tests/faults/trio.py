"""A corpus of three videos in a bucket: one that needs nothing, two that need repair; the database is a local file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from resplice.pipelines import demo
from resplice.pipelines.demo_audio import phrases
from resplice.pipelines.demo_places import SHARD_FILES, measures, pairs, write_database, write_tars
from resplice.pipelines.demo_video import Draft, Result, clean, collapsed

SEED = 7
ROOTS = ("raw", "transcribed", "validation", "workspace")
UNNEEDED = f"objects/sha256/{'5e' * 32}.parquet".replace("5e", "5e/5e", 1)
"""An object of the workspace that no snapshot ever names."""
CONFIG = """
[corpus]
{roots}
[database]
url = "sqlite:///{database}"

[store]
endpoint_url = "{endpoint}"
region = "us-east-1"
addressing = "path"
"""


@dataclass(frozen=True)
class Trio:
    """The corpus: the local folder of its database and configuration, and the bucket of all its roots.

    `large`: one tar has more than 5 MiB, the least that a store takes in parts.
    """

    folder: Path
    bucket: str = "corpus"
    large: bool = False

    @property
    def database(self) -> Path:
        """Return the path of the database."""
        return self.folder / "corpus.sqlite"

    @property
    def config(self) -> Path:
        """Return the path of the configuration."""
        return self.folder / "resplice.toml"

    def root(self, name: str) -> str:
        """Return the URL of a root."""
        return f"s3://{self.bucket}/{name}"

    def write(self) -> Iterator[tuple[str, bytes]]:
        """Write the database, and yield the objects of the bucket by their keys."""
        corpus, files = demo.Corpus(), self.folder / "files"
        for name in ROOTS:
            (files / name).mkdir(parents=True)
        for number, draft in enumerate(drafts(self.large)):
            write_tars(files, draft)
            demo.take(corpus, draft, {"number": number})
        write_database(self.database, pairs(corpus.rows), corpus.videos)
        write_history(files / "validation", list(pairs(corpus.history)))
        yield f"workspace/{UNNEEDED}", b"left by a publisher who was killed"
        for path in sorted(path for path in files.rglob("*") if path.is_file()):
            yield path.relative_to(files).as_posix(), path.read_bytes()

    def configure(self, endpoint: str) -> None:
        """Write the configuration for a store at an endpoint."""
        roots = "".join(f'{name} = "{self.root(name)}"\n' for name in ROOTS)
        self.config.write_text(CONFIG.format(roots=roots, database=self.database, endpoint=endpoint), "utf-8")

    def statuses(self) -> list[tuple[str, str | None]]:
        """Return the validation status of every video in the database."""
        connection = sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)
        try:
            return connection.execute("SELECT video_id, validation_status FROM videos ORDER BY video_id").fetchall()
        finally:
            connection.close()


def drafts(large: bool) -> list[Draft]:
    """Return the three videos: clean, collapsed by the bug, and without its transcribed tar."""
    found = []
    for number, (name, build) in enumerate((("clean", clean), ("collapsed", collapsed), ("missing", clean))):
        draft = demo.start(SEED, number, name)
        draft.validation_status = "pending"
        long = [replace(phrases(draft.rng, 60.0, 44_100), channels=2, bits=24)] if large and name == "collapsed" else []
        build(draft, *long)
        found.append(draft)
    found[-1].audio = None
    return found


def write_history(folder: Path, results: Sequence[tuple[str, Result]]) -> None:
    """Write two historical shards, one of them without a status: each costs every stage some requests more."""
    for part, (name, schema) in enumerate(SHARD_FILES[:2]):
        rows = [measures(video, result) for video, result in results[part::2]]
        columns = {column: [row[column] for row in rows] for column in schema.names}
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(columns, schema=schema), folder / name)

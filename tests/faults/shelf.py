"""The corpus in a bucket that is a folder of its server, so that a former state is put back in milliseconds."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from faults import outcome
from faults.outcome import Outcome
from faults.trio import Trio
from servers import Server, running

from resplice.io import snapshots
from resplice.transforms.settings import StoreOptions

RUN = "r"
MEMORY = "/dev/shm"
WRITING = ("finalize", "undo")
"""Commands that write to the database."""
_TEMPORARY = ".sgwtmp"  # where versitygw gathers what is not yet an object


@dataclass
class State:
    """A bucket and a database as they were at some moment."""

    bucket: Path
    database: Path


class Shelf:
    """The trio on a versitygw server; `endpoint` is what commands are given."""

    def __init__(
        self, server: Server, endpoint: str, folder: Path, bucket: str = "corpus", large: bool = False
    ) -> None:
        self.trio = Trio(folder / bucket, bucket, large)
        self.view = StoreOptions(server.endpoint, "us-east-1", "path")
        self._folder, self._bucket, self._states = server.folder / "states" / bucket, server.folder / "data" / bucket, 0
        self._fill(server, endpoint)

    def _fill(self, server: Server, endpoint: str) -> None:
        for folder in (self.trio.folder, self._folder):
            folder.mkdir(parents=True)
        server.client.create_bucket(Bucket=self.trio.bucket)
        for key, data in self.trio.write():
            server.client.put_object(Bucket=self.trio.bucket, Key=key, Body=data)
        self.trio.configure(endpoint)
        self._copy_database()

    def arguments(self, command: str) -> list[str]:
        """Return the arguments of a command on the corpus; kept states are spared one that writes to the database."""
        if command.startswith(WRITING):
            self._copy_database()
        run = [] if command.startswith(("rollback", "gc")) else ["--run-id", RUN]
        return [*command.split(), "--config", str(self.trio.config), "--quiet", *run]

    def keep(self) -> State:
        """Return the state of the corpus now."""
        kept = self._next()
        clone(self._bucket, kept)
        return State(kept, self.trio.database.resolve())

    def put_back(self, state: State) -> None:
        """Give the corpus a former state."""
        gone = self._next()
        self._bucket.rename(gone)
        clone(state.bucket, self._bucket)
        shutil.rmtree(gone)
        self._point_to(state.database)

    def _copy_database(self) -> None:  # its version is part of a baseline
        copy = self._next()
        shutil.copyfile(self.trio.database, copy)
        self._point_to(copy)

    def _next(self) -> Path:
        self._states += 1
        return self._folder / str(self._states)

    def _point_to(self, database: Path) -> None:
        link = self.trio.database.with_suffix(".new")
        link.symlink_to(database)
        link.replace(self.trio.database)

    def outcome(self) -> Outcome:
        """Return what the corpus holds, without clocks and without which copy of the database sidecars name."""
        copy, database = re.escape(f"{self._folder}/").encode() + rb"\d+", str(self.trio.database).encode()
        objects = {key: re.sub(copy, database, data) for key, data in self.objects().items()}
        return outcome.outcome(objects) | {"database": self.trio.statuses()}

    def objects(self) -> dict[str, bytes]:
        """Return the objects of the bucket."""
        files = (path for path in self._bucket.rglob("*") if path.is_file())
        found = {path.relative_to(self._bucket).as_posix(): path.read_bytes() for path in files}
        return {key: data for key, data in found.items() if not key.startswith(_TEMPORARY)}

    def seen(self) -> str:
        """Return the digest of what a reader of the results sees now."""
        found = snapshots.dataset(self.trio.root("workspace"), options=self.view).to_table().to_pylist()
        return outcome.digest(sorted(_lines(found)))


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[Server]:
    """Start a versitygw server in a new folder; this process, and those that it starts, have its credentials."""
    folder.mkdir(parents=True)
    with running("versitygw", folder) as server, pytest.MonkeyPatch.context() as patch:
        server.credentials(patch)
        yield server


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """Give a folder for the time of a block: in memory where the system offers that."""
    with tempfile.TemporaryDirectory(dir=MEMORY if os.access(MEMORY, os.W_OK) else None) as name:
        yield Path(name)


def clone(source: Path, target: Path) -> None:
    """Copy a tree of folders, attributes and all, with links to its files: the server never writes into one."""
    shutil.copytree(source, target, copy_function=os.link, ignore=shutil.ignore_patterns(_TEMPORARY))


def _lines(rows: Iterable[dict[str, Any]]) -> list[str]:
    return [json.dumps(row, sort_keys=True, default=str) for row in rows]

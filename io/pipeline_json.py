"""pipeline.json: read leniently, locked, replaced as a whole, its former states kept; and the rows not yet in it.

Beside it, in `.pipeline/`: `backups/` with its last 50 former states, and `journal/` with the rows of chunks that were
made since it was last written, one small file each, so that a process that is killed loses none.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from resplice.io import conditional, documents
from resplice.io.local import LocalStore
from resplice.transforms import provenance
from resplice.transforms.records import Damage, Exit, UserError

BACKUPS = 50
State = dict[str, Any]


@dataclass(frozen=True)
class Record:
    """A row of the journal: `number` is the chunk's, counted from 1."""

    file_id: str
    number: int
    row: dict[str, Any]


@dataclass(frozen=True)
class PipelineJson:
    """One pipeline.json. Picklable."""

    path: Path

    @classmethod
    def at(cls, path: str) -> PipelineJson:
        """Return the one at a path. UserError if there is none."""
        if not Path(path).is_file():
            raise UserError(f"--pipeline-json {path}: there is no such file")
        return cls(Path(path).resolve())

    @property
    def _store(self) -> LocalStore:
        return LocalStore(str(self.path.parent))

    @property
    def _journal(self) -> str:
        return f".pipeline/journal/{self.path.name}/"

    def absolute(self, path: str) -> Path:
        """Return a path that the file holds: absolute, or relative to the file."""
        return self.path.parent / path

    def read(self) -> State:
        """Return the state; NaN and infinities of old files are null."""
        return self._parsed(self._store.read(self.path.name))

    def _parsed(self, data: bytes) -> State:
        try:
            state = documents.lenient(data)
        except Damage as damage:
            raise UserError(
                f"{self.path} is not valid JSON: {damage.text}; restore it, e.g. from .pipeline/backups"
            ) from None
        if not isinstance(state, dict):
            raise UserError(f"{self.path} must hold a JSON object, not a {type(state).__name__}")
        return state

    @contextlib.contextmanager
    def locked(self, timeout_s: float) -> Iterator[None]:
        """Keep other processes of resplice from the file; UserError (exit 75) if one has it for longer than that."""
        try:
            with FileLock(f"{self.path}.lock", timeout=timeout_s):
                yield
        except Timeout:
            raise UserError(
                f"{self.path} is locked by another process for more than {timeout_s:g} s: "
                "run the same command again when that has ended",
                Exit.AGAIN,
            ) from None

    def update(self, change: Callable[[State], State]) -> None:
        """Replace the state by what `change` makes of it, unless that is the same; another writer's change is kept.

        The first change of a process copies the former state to the backups.
        """

        def changed(data: bytes) -> bytes:
            before = self._parsed(data)
            after = change(before)
            if after == before:
                return data
            self._back_up(data)
            return _written(after)

        conditional.update(self._store, self.path.name, changed)

    def _back_up(self, data: bytes) -> None:
        if self.path in _BACKED_UP:
            return
        folder = LocalStore(str(self.path.parent / ".pipeline/backups"))
        while not folder.create(f"{self.path.stem}-{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}.json", data):
            pass
        _BACKED_UP.add(self.path)
        name = re.compile(re.escape(self.path.stem) + r"-\d{8}T\d{12}Z\.json")
        kept = [head.key for head in folder.list() if name.fullmatch(head.key)]
        for key in kept[:-BACKUPS]:
            folder.delete(key)

    def record(self, record: Record, first: bool = False) -> None:
        """Enter the row of a chunk in the journal; `first`: before its audio is touched, the row for good follows."""
        key = provenance.sha256(f"{record.file_id}/{record.number}".encode())
        self._store.replace(f"{self._journal}{key}-{'1' if first else '2'}.json", provenance.document(record), None)

    def journal(self) -> dict[str, Record]:
        """Return the rows of the journal by key; of two rows of one chunk the later one comes last."""
        store = self._store
        return {head.key: Record(**documents.load(store, head.key)) for head in list(store.list(self._journal))}

    def forget(self, keys: Iterable[str]) -> None:
        """Remove rows from the journal: pipeline.json holds them."""
        for key in keys:
            self._store.delete(key)


_BACKED_UP: set[Path] = set()


def begin(path: PipelineJson) -> None:
    """Let the next change be the first one of a process."""
    _BACKED_UP.discard(path.path)


def _written(state: State) -> bytes:
    """Return strict JSON; half a surrogate pair, which is no UTF-8, stays the escape that it was."""
    text = json.dumps(provenance.plain(state), sort_keys=True, ensure_ascii=False, allow_nan=False, indent=2)
    return (provenance.halves_escaped(text) + "\n").encode()

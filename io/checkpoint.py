"""The files of an embedding that people look at: the checkpoint, the log of failures beside it, the quarantine.

The checkpoint is never ahead of what is durable: it is replaced as a whole, after the shards and the library.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resplice.io import documents
from resplice.io.local import LocalStore
from resplice.transforms import embedding, provenance
from resplice.transforms.records import Damage, UserError

VERSION = 1
RUNNING, COMPLETED = "running", "completed"


@dataclass(frozen=True)
class Checkpoint:
    """The three files of a checkpoint: `PATH`, `STEM_failed.jsonl` and `STEM_quarantine.jsonl`."""

    path: Path

    @classmethod
    def at(cls, path: str) -> Checkpoint:
        """Return the checkpoint at a path. UserError for one that cannot be a file."""
        file = Path(path).absolute()
        if "://" in path or os.path.isdir(file) or any(map(os.path.isfile, file.parents)):  # noqa: PTH112
            raise UserError(f"--checkpoint-file {path} is no local file; name one, e.g. data/embed_checkpoint.json")
        made = cls(file)
        if folder := next((each for each in (made.failed_log, made.quarantine) if each.is_dir()), None):
            raise UserError(f"--checkpoint-file {path}: {folder} is a folder; move it away, or name another file")
        return made

    def apart_from(self, library: str) -> None:
        """Raise UserError if a library is one of the files."""
        if os.path.realpath(library) in (
            os.path.realpath(each) for each in (self.path, self.failed_log, self.quarantine)
        ):
            raise UserError(f"--library {library} is a file of --checkpoint-file {self.path}; name another one")

    @property
    def failed_log(self) -> Path:
        """Return the log of failures."""
        return self.path.with_name(f"{self.path.stem}_failed.jsonl")

    @property
    def quarantine(self) -> Path:
        """Return the quarantine."""
        return self.path.with_name(f"{self.path.stem}_quarantine.jsonl")

    @property
    def _store(self) -> LocalStore:
        return LocalStore(str(self.path.parent))

    def load(self) -> dict[str, Any]:
        """Return what the file holds, {} if there is none. UserError (exit 2) if it is no checkpoint."""
        data = _content(self.path)
        if data is None:
            return {}
        try:
            value = documents.parse(data)
            lists = [value[name] for name in ("completed_paths", "failed_paths")]
            if value["version"] != VERSION or not all(_is_paths(names) for names in lists):
                raise ValueError(f"version {value['version']!r}, expected {VERSION} and lists of paths")
        except (Damage, ValueError, KeyError, TypeError) as error:
            told = f"it has no {error}" if isinstance(error, KeyError) else str(error)
            raise UserError(
                f"{self.path} is no checkpoint that can be read ({told}); it is left as it is: restore it, or name "
                "another --checkpoint-file"
            ) from None
        return value  # type: ignore[no-any-return]

    def save(self, value: Mapping[str, Any]) -> None:
        """Replace the file as a whole."""
        self._store.replace(self.path.name, provenance.document({"version": VERSION, **value}), None)

    def log(self, lines: Iterable[Mapping[str, Any]]) -> None:
        """Append failures to the log, in one write; a line that a killed process left torn is ended first."""
        data = provenance.jsonl(lines)
        if not data:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.failed_log.open("ab+", buffering=0) as file:
            end = file.seek(0, os.SEEK_END)
            if end and (file.seek(-1, os.SEEK_END), file.read(1))[1] != b"\n":
                data = b"\n" + data
            try:
                left = memoryview(data)
                while left:
                    left = left[file.write(left) :]
                os.fsync(file.fileno())
            except OSError:  # the disk is full: all of it is written again
                os.ftruncate(file.fileno(), end)
                raise

    def failures(self) -> list[dict[str, Any]]:
        """Return the lines of the log of failures; what is none of ours is left out."""
        return [line for _, line in _parsed(self.failed_log) if line and _is_failure(line)]

    def quarantined(self, embedder: str, windows: str) -> set[str]:
        """Return what is in the quarantine for an embedder and windows: contents; keys for rows that name none."""
        rows, _ = self._quarantine()
        abouts = map(embedding.failing, rows)
        return {about.content for about in abouts if embedding.concerns(about, embedder, windows)}

    def keep_quarantined(self, there: Collection[str], embedder: str, windows: str) -> int:
        """Bring the quarantine up to the log of failures, and note there what has succeeded since; return its rows.

        `there`: the contents, and the keys, that have vectors of the embedder and windows. Lines that are no rows stay.
        """

        def cured(about: embedding.Failing) -> bool:
            return about.content in there and embedding.concerns(about, embedder, windows)

        before, others = self._quarantine()
        failures = self.failures()
        rows = embedding.quarantine(before, failures, cured)
        if rows != before:
            self._store.replace(self.quarantine.name, provenance.jsonl(rows) + others, None)
        now = {"timestamp": provenance.now(), "embedder_digest": embedder, "windows": windows}
        ends = [lines[-1] for about, lines in embedding.open_failures(failures).items() if cured(about)]
        self.log([{**line, **now, "phase": embedding.EMBED, "reason": embedding.CURED, "error": ""} for line in ends])
        return len(rows)

    def _quarantine(self) -> tuple[list[dict[str, Any]], bytes]:
        """Return the rows of the quarantine, and its other lines, which are not understood."""
        lines = _parsed(self.quarantine)
        rows = [row for _, row in lines if row and _is_row(row)]
        others = [line for line, row in lines if line and not (row and _is_row(row))]
        return rows, b"".join(line + b"\n" for line in others)


def _is_paths(names: Any) -> bool:
    return isinstance(names, list) and all(isinstance(name, str) for name in names)


def _is_row(line: Mapping[str, Any]) -> bool:
    """Return whether a line names what fails: a path, and as texts whatever else of its identity it has."""
    others = (line.get(name) for name in ("content_sha256", "embedder_digest", "windows"))
    return isinstance(line.get("path"), str) and all(isinstance(value, str | None) for value in others)


def _is_failure(line: Mapping[str, Any]) -> bool:
    texts = (line.get(name) for name in ("content_sha256", "reason", "run_id", "timestamp"))
    return _is_row(line) and all(isinstance(value, str) for value in texts) and isinstance(line.get("size_bytes"), int)


def _parsed(path: Path) -> list[tuple[bytes, dict[str, Any] | None]]:
    """Return the lines of a file, each with its value; None for one that is torn, or no object."""
    return [(line, _value(line)) for line in (_content(path) or b"").splitlines()]


def _content(path: Path) -> bytes | None:
    """Return the bytes of a file, None if there is none. UserError (exit 2) if it cannot be read."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}; it is left as it is") from None


def _value(line: bytes) -> dict[str, Any] | None:
    try:
        value = documents.parse(line)
    except Damage:
        return None
    return value if isinstance(value, dict) else None

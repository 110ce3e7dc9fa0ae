"""The books of a pipeline.json: what is expected and valid of each, and folding what was made into its state."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from resplice.io import sidecars, wav
from resplice.io.folding import folding
from resplice.io.pipeline_json import PipelineJson, Record, State
from resplice.io.speaking import Text, read_text
from resplice.transforms import bookstate, chunks, retry, speech
from resplice.transforms.chunks import BAD_TEXTS, MISSING_TEXT, SUCCESS
from resplice.transforms.records import UserError
from resplice.transforms.settings import Synthesis
from resplice.transforms.sidecar import entries

Unit = tuple[str, int]
"""A chunk: the book, and its number, counted from 1."""


@dataclass(frozen=True)
class Book:
    """One book as it is now: its entry of phase4 (None without one), its texts in order, and what is to do, with why.

    `todo`: number → reason (see `retry.collect_failed_chunks`).
    """

    file_id: str
    entry: Mapping[str, Any] | None
    texts: tuple[Text, ...]
    todo: Mapping[int, str]

    @property
    def audio_dir(self) -> str:
        """Return the folder of its audio, as the entry names it."""
        return chunks.audio_dir(self.entry, self.file_id)

    @functools.cached_property
    def rows(self) -> dict[int, dict[str, Any]]:
        """Return the row of each chunk that has one."""
        return chunks.rows_of(self.entry, len(self.texts))

    @property
    def valid(self) -> int:
        """Return the number of valid chunks."""
        return len(self.texts) - len(self.todo)

    def told(self, number: int) -> str:
        """Return what is known of a chunk that is to do: its text's path, or what its row says of the engines."""
        if self.todo[number] in BAD_TEXTS:
            return self.texts[number - 1].path
        errors = self.rows.get(number, {}).get("errors") if chunks.of_an_engine(self.todo[number]) else None
        return "; ".join(map(str, errors)) if isinstance(errors, list) else ""


def examine(path: PipelineJson, state: State, wanted: Iterable[str]) -> list[Book]:
    """Look at the texts, the rows and the audio of some books."""
    return [_examined(path, state, file_id) for file_id in wanted]


def _examined(path: PipelineJson, state: State, file_id: str) -> Book:
    where = str(path.path)
    texts = tuple(_text(path, name) for name in bookstate.texts(where, state, file_id))
    entry = bookstate.entry(where, state, file_id)
    rows = chunks.rows_of(entry, len(texts)).values()
    names = {name for row in rows if row.get("status") == SUCCESS and isinstance(name := row.get("audio_path"), str)}
    faults = {name: wav.fault(path.absolute(name)) for name in names}
    listing = {name: fault for name, fault in faults.items() if fault is not None}
    found = retry.collect_failed_chunks(entry, [text.state for text in texts], listing)
    book = Book(file_id, entry, texts, {chunks.number_of(id_) or 0: reason for id_, reason in found})
    if found and book.audio_dir == f"audio/{file_id}" and not bookstate.names_a_folder(file_id):
        raise UserError(f"book {file_id!r} cannot name a folder: give it artifacts.audio_dir in {where}")
    return book


def _text(path: PipelineJson, name: Any) -> Text:
    """Return a text as `chunk_paths` names it; what can be no path names none."""
    if bookstate.is_path(name):
        return read_text(path.absolute(name))[0]
    return Text(ascii(name) if name else "", MISSING_TEXT)


def targets(path: PipelineJson, state: State, books: Sequence[Book], todo: Iterable[Unit]) -> dict[Unit, str]:
    """Return the path of the audio of each chunk to do, none of them that of another valid chunk."""

    @functools.cache
    def folder(name: str) -> str:
        return os.path.realpath(name)

    def real(name: str) -> str:
        head, tail = os.path.split(path.absolute(name))
        return os.path.join(folder(head), tail)  # noqa: PTH118

    known = {book.file_id: book for book in books}
    taken = {
        real(name): (file_id, number)
        for file_id, entry in bookstate.files(state, "phase4").items()
        for number, name in _named(entry)
        if file_id not in known or number not in known[file_id].todo
    }
    return chunks.targets({book.file_id: book.audio_dir for book in books}, todo, taken, real)


def _named(entry: Any) -> Iterator[tuple[int, str]]:
    """Yield the numbers (0: no chunk's) and the audio paths of all rows of success."""
    for row in chunks.all_rows(entry if isinstance(entry, dict) else None):
        if isinstance(row, dict) and row.get("status") == SUCCESS:
            name = row.get("audio_path")
            if bookstate.is_path(name):
                yield chunks.number_of(row.get("chunk_id")) or 0, name


def made_by(path: PipelineJson, book: Book, run_id: str) -> Iterator[int]:
    """Yield the valid chunks whose sidecar says that a run made just this audio."""
    for number in range(1, len(book.texts) + 1):
        row = book.rows.get(number, {})
        if number in book.todo or not row.get("audio_sha256"):
            continue
        audio = path.absolute(row["audio_path"])
        sidecar = sidecars.read(audio.with_name(audio.name + sidecars.SUFFIX))
        if sidecar and sidecar.get("run_id") == run_id:
            outputs = sidecar["run_provenance"]["outputs"]
            if any(said.get("sha256") == row["audio_sha256"] for _, said in entries(outputs, "outputs")):
                yield number


def with_rows(state: State, journal: Mapping[str, Record]) -> State:
    """Return a state with the rows of a journal in it."""
    return bookstate.with_rows(state, ((record.file_id, record.number, record.row) for record in journal.values()))


@dataclass
class Keeper:
    """The one writer of a pipeline.json: folds the rows of the journal into its state.

    `open` holds the chunks that are not valid, with reason and detail, by book.
    """

    path: PipelineJson
    engine: str
    began: float = field(default_factory=time.time)
    books: dict[str, Book] = field(default_factory=dict)
    open: dict[str, dict[int, tuple[str, str]]] = field(default_factory=dict)

    def recover(self) -> int:
        """Fold what a process that was killed left in the journal; return how many rows that were."""
        journal = self.path.journal()
        if journal:
            self.path.update(lambda state: with_rows(state, journal))
            self.path.forget(journal)
        return len(journal)

    def take(self, books: Iterable[Book], limits: Synthesis) -> None:
        """Keep the state of some books from now on. A chunk without a text gets a row that says so; one that an engine
        made or failed keeps its row, which tells whom to ask when the text is there again.
        """
        for book in books:
            self.books[book.file_id] = book
            self.open[book.file_id] = {number: (why, book.told(number)) for number, why in book.todo.items()}
            for number, why in book.todo.items():
                row = book.rows.get(number, {})
                stays = row.get("status") == SUCCESS or chunks.failed_by_an_engine(row)
                if why in BAD_TEXTS and not stays and row.get("validation_reason") != why:
                    told = speech.row(number, 0, limits, [], chunks.attempts(row), why=why)
                    self.path.record(Record(book.file_id, number, told))
        self.fold()

    def folding(self) -> AbstractContextManager[None]:
        """Fold now and then while the block runs, and when it ends; the journal keeps what could not be folded."""
        return folding(self.fold, self.fold)

    def fold(self) -> None:
        """Bring the state up to the journal."""
        journal = self.path.journal()
        for record in journal.values():
            self._settle(record)
        touched = {record.file_id for record in journal.values()}
        self.path.update(lambda state: self._with_sums(with_rows(state, journal), touched))
        self.path.forget(journal)

    def _settle(self, record: Record) -> None:
        open_ = self.open.get(record.file_id, {})
        if record.row["status"] == SUCCESS:
            open_.pop(record.number, None)
        elif record.row["errors"]:
            open_[record.number] = record.row["validation_reason"], "; ".join(record.row["errors"])

    def _with_sums(self, state: State, touched: set[str]) -> State:
        files = bookstate.made_files(state)
        for file_id, book in self.books.items():
            before, count = files.get(file_id), len(book.texts)
            entry = chunks.settled(chunks.merged(before, {}, count), self.open[file_id], count, book.audio_dir)
            if before is None or file_id in touched:
                entry["requested_engine"] = self.engine
            if entry != before:
                now = time.time()
                entry["timestamps"] = {"start": self.began, "end": now, "duration": now - self.began}
                files[file_id] = entry
        return state

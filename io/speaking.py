"""Making chunks: ask one engine after the other, judge what it made, publish audio, sidecar, row and outcome.

Audio is published as a whole, then its sidecar, then its row in the journal of pipeline.json, then its outcome in the
ledger: whatever a process dies at, what is there is whole, and what is not there is made again.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resplice.io import ledger, sidecars, wav
from resplice.io.context import Context
from resplice.io.ledger import Entry
from resplice.io.local import LocalStore
from resplice.io.pipeline_json import PipelineJson, Record
from resplice.io.pool import borrowed
from resplice.io.store import Place
from resplice.transforms import provenance, speech
from resplice.transforms.chunks import EMPTY_TEXT, MISSING_TEXT, NOT_MADE, UNDECODABLE_TEXT, chunk_id
from resplice.transforms.records import Damage, Reason, Refusal
from resplice.transforms.speech import VALID, Attempt
from resplice.transforms.voices import Engine

STAGE = "synthesize"
_ENGINE_MB = 1 << 24  # no limit: what a model needs is the operator's business


@dataclass(frozen=True)
class Text:
    """The text of a chunk: its file, and the SHA-256 of its bytes, or what is wrong with it; characters."""

    path: str
    state: str
    chars: int = 0


@dataclass(frozen=True)
class Task:
    """One chunk to make: its text, the path of its audio as the row will name it, who is asked for it, in order.

    `asked` are (engine, voice); `attempts` is how many there were before; `success`: its row says so; `valid`: it is
    valid now, and made anew.
    """

    file_id: str
    number: int
    text: str
    audio: str
    asked: tuple[tuple[str, str], ...]
    attempts: int = 0
    success: bool = False
    valid: bool = False

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Task:
        """Make a task from what JSON says of it."""
        return cls(**{**value, "asked": tuple((engine, voice) for engine, voice in value["asked"])})

    @property
    def unit(self) -> str:
        """Return the name of the chunk among those of all books."""
        return unit_of(self.file_id, self.number)


def unit_of(file_id: str, number: int) -> str:
    """Return the name of a chunk among those of all books: `{file_id}/chunk_0001`."""
    return f"{file_id}/{chunk_id(number)}"


def read_text(path: Path) -> tuple[Text, bytes]:
    """Read the text of a chunk, whose file may be missing."""
    name = str(path)
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError):
        return Text(name, MISSING_TEXT), b""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return Text(name, UNDECODABLE_TEXT), data
    if not text.strip():
        return Text(name, EMPTY_TEXT), data
    return Text(name, provenance.sha256(data), len(text)), data


class Speak:
    """Make some chunks: tasks → how many. Chunks that this process has made are not made again."""

    def __init__(self, context: Context, book: PipelineJson, engines: Mapping[str, Engine], timeout_s: float) -> None:
        self._context = context
        self._book = book
        self._engines = dict(engines)
        self._timeout_s = timeout_s

    def __call__(self, tasks: Sequence[Task]) -> Iterator[int]:
        """Make the chunks of one work item, one after the other."""
        store, stage = self._context.workspace.store, self._context.stage(STAGE)
        item = provenance.sha256("\n".join(task.unit for task in tasks).encode())[:16]
        entries: dict[str, Entry] = {}
        with contextlib.suppress(FileNotFoundError):  # a bundle that runs again
            entries = {entry.unit: entry for entry in ledger.read(store, f"{ledger.folder(stage)}{item}.jsonl")}
        with ledger.entering(store, stage, item, entries) as enter:
            for task in tasks:
                if task.unit not in entries or entries[task.unit].seq != self._context.run.seq:
                    entries[task.unit] = self._made(task)
                    enter()
        yield len(tasks)

    def _made(self, task: Task) -> Entry:
        """Make one chunk and return its outcome."""
        text, data = read_text(Path(task.text))
        attempts: list[Attempt] = []
        with tempfile.TemporaryDirectory(prefix="resplice-speech-") as folder:
            file = None
            for turn, (engine, voice) in enumerate(task.asked if text.chars else ()):
                made = Path(folder) / str(turn) / f"{chunk_id(task.number)}.wav"
                made.parent.mkdir()
                attempts.append(self._attempt(self._engines[engine], voice, text, made))
                file = made if attempts[-1].details else None
                if attempts[-1].reason == VALID:
                    break
            if attempts and (not task.valid or attempts[-1].reason == VALID):  # a text that went away costs no row
                self._publish(task, text, data, attempts, file)
        return self._entry(task, text, attempts)

    def _attempt(self, engine: Engine, voice: str, text: Text, file: Path) -> Attempt:
        """Ask one engine, and judge what it made."""
        began = time.monotonic()
        try:
            try:
                with borrowed(self._timeout_s, _ENGINE_MB) as sandbox:
                    here = str(Path.cwd()), dict(os.environ)
                    sandbox.call("resplice.io.voices:make", engine, voice, text.path, str(file), *here)
            finally:
                took = round(time.monotonic() - began, 3)
            reason, details = self._measured(file, text)
        except Refusal as refusal:
            died = refusal.reason in (Reason.CRASHED, Reason.OUT_OF_MEMORY)
            told = str(Reason.ENGINE_FAILED if died else refusal.reason)
            return Attempt(engine.name, voice, told, refusal.detail, seconds=took)
        return Attempt(engine.name, voice, reason, speech.explained(reason, details), details, took)

    def _measured(self, file: Path, text: Text) -> tuple[str, dict[str, Any]]:
        """Return verdict and details of the audio that an engine made; Refusal without any that can be read."""
        run = self._context.settings.run
        try:
            if not file.is_file() or not wav.frames(file):
                raise Refusal(Reason.NO_AUDIO, "the engine ended well and wrote no audio")
            with borrowed(run.timeout_s, run.memory_mb) as sandbox:
                measures = sandbox.call("resplice.io.wav:measured", str(file))
        except Damage as damage:
            raise Refusal(Reason.UNREADABLE, str(damage)) from None
        except Refusal as refusal:
            if refusal.reason == Reason.NO_AUDIO:
                raise
            raise Refusal(Reason.UNREADABLE, str(refusal)) from None
        return speech.verdict(measures, text.chars, self._context.settings.synthesis)

    def _publish(self, task: Task, text: Text, data: bytes, attempts: Sequence[Attempt], file: Path | None) -> None:
        """Put the audio in its place, its sidecar beside it if it is valid, and its row into the journal."""
        target = self._book.absolute(task.audio)
        store, sha256 = LocalStore(str(target.parent)), sidecars.file_digest(file) if file else None
        if file:
            if task.success:  # else a kill before the row would leave new audio under the old row's success
                self._record(task, text, [], first=True, why=NOT_MADE)
            store.delete(target.name + sidecars.SUFFIX)
            store.replace(target.name, file, None)
        if file and attempts[-1].reason == VALID:
            self._sidecar(task, text, data, attempts[-1], target)
        found: dict[str, Any] = {"audio_path": task.audio, "audio_sha256": sha256} if file else {}
        self._record(task, text, attempts, **found)

    def _record(self, task: Task, text: Text, attempts: Sequence[Attempt], first: bool = False, **more: Any) -> None:
        """Enter the row of a chunk in the journal."""
        limits = self._context.settings.synthesis
        sha256 = text.state if text.chars else None
        row = speech.row(task.number, text.chars, limits, attempts, task.attempts, text_sha256=sha256, **more)
        self._book.record(Record(task.file_id, task.number, row), first)

    def _sidecar(self, task: Task, text: Text, data: bytes, made: Attempt, target: Path) -> None:
        place, source = Place(str(target.parent)), Path(text.path)
        content = sidecars.content(
            self._context, "chunk",
            stats={"file_id": task.file_id, "chunk_id": chunk_id(task.number), "engine": made.engine,
                   "voice": made.voice, "engine_s": made.seconds, **made.details},
            inputs={"text": sidecars.known(Place(str(source.parent)), source.name, text.state, len(data))},
            outputs={"audio": sidecars.described(place, target.name)},
        )  # fmt: skip
        sidecars.write(place.store, target.name, content)

    def _entry(self, task: Task, text: Text, attempts: Sequence[Attempt]) -> Entry:
        counts = {"engine_s": round(sum(a.seconds for a in attempts), 3), "calls": float(len(attempts))}
        if not attempts:
            refusal = Refusal(Reason(text.state), text.path)
        elif attempts[-1].reason != VALID:
            refusal = Refusal(Reason(attempts[-1].reason), "; ".join(map(str, attempts)))
        else:
            counts |= {"seconds": round(attempts[-1].audio_s, 3), "made_s": attempts[-1].seconds}
            return Entry(task.unit, "done", seq=self._context.run.seq, at=provenance.now(), counts=counts)
        return Entry.refused(task.unit, refusal, "", self._context.run.seq, counts=counts)

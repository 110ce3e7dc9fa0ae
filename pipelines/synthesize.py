"""Make the audio of the chunks of books that have none, or whose audio failed, and leave the rest alone.

    resplice synthesize --pipeline-json pipeline.json --file-id book --engine kokoro --fallback xtts --run-id book-a

Reads   pipeline.json, the texts of phase3, the headers of the audio that its rows name.
Writes  audio/BOOK/chunk_0001.wav (or artifacts.audio_dir) with a sidecar each,
        audio/BOOK.manifest.json with a line for each of them, pipeline.json, .pipeline/ beside it;
        report.html and report.json of the run.
Skips   valid chunks: status success, the audio there and whole, the text unchanged.
Refuses missing_text, empty_text, undecodable_text, engine_failed, timeout, no_audio, unreadable, duration_mismatch,
        silence_gap, rms_too_low, rms_too_high, too_quiet, too_short.
Exit 3 while an expected chunk is not valid, 75 if another process keeps pipeline.json.
"""

from __future__ import annotations

import contextlib
import errno
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from resplice.io import books, books_evidence, ledger, pipeline_json, refusals, spans, voices
from resplice.io.books import Book, Keeper
from resplice.io.context import Context
from resplice.io.pipeline_json import PipelineJson, State
from resplice.io.progress import by_ledger
from resplice.io.refusals import Refused
from resplice.io.speaking import STAGE, Speak, Task, unit_of
from resplice.pipelines import launch, report
from resplice.pipelines.config import Resolved
from resplice.pipelines.launch import Session
from resplice.transforms import bookstate, chunks, provenance, retry, speech
from resplice.transforms.affected import work_items
from resplice.transforms.records import Exit, UserError
from resplice.transforms.voices import Engine, engines

TIMEOUT_S = 600.0


@dataclass(frozen=True)
class Asked:
    """What the flags ask for: the state, the books ([] = all), the engines by name, the first of them, its voice."""

    path: PipelineJson
    file_ids: tuple[str, ...]
    known: Mapping[str, Engine]
    engine: str
    voice: str
    fallback: str | None
    timeout_s: float

    def voiced(self, route: Sequence[str]) -> tuple[tuple[str, str], ...]:
        """Return the engines of a route with their voices: the given one, and a fallback's own."""
        own = [(self.engine, self.voice)] if self.fallback is None or len(route) > 1 else []
        return (*own, *((name, retry.fallback_voice(name, self.known)) for name in route[len(own) :]))


def run(args: Any, resolved: Resolved, beam_argv: Sequence[str]) -> int:
    """Run the command."""
    ask = asked(args, resolved)  # what cannot be meant is told before anything is recorded
    return launch.run(STAGE, args, resolved, beam_argv, lambda session: job(session, ask), corpus=False)


def asked(args: Any, resolved: Resolved) -> Asked:
    """Return what the flags ask for. UserError for an engine, a voice or a book that there is not."""
    if bool(args.file_id) == args.all:
        raise UserError("give --file-id BOOK (repeatable), or --all for every book of phase3")
    timeout_s = TIMEOUT_S if args.timeout is None else args.timeout
    if not 0 < timeout_s < math.inf:
        raise UserError(f"--timeout must be a number of seconds above 0, got {args.timeout}")
    known = engines((name, dict(table)) for name, table in resolved.settings.synthesis.engines)
    for flag, name in (("--engine", args.engine), ("--fallback", args.fallback)):
        if name is not None and name not in known:
            raise UserError(f"{flag} {name} is no engine; known: {', '.join(sorted(known))}")
    if args.fallback == args.engine:
        raise UserError(f"--fallback {args.fallback} is --engine, too, which is asked once: name another, or none")
    voice = args.voice or known[args.engine].default_voice
    if not voices.is_voice(known[args.engine], voice):
        there = ", ".join(voices.voices(known[args.engine]))
        raise UserError(f"--voice {voice} is no voice of {args.engine}; known: {there}")
    path = PipelineJson.at(args.pipeline_json)
    bookstate.file_ids(str(path.path), path.read(), args.file_id)
    return Asked(path, args.file_id, known, args.engine, voice, args.fallback, timeout_s)


def job(session: Session, ask: Asked) -> None:
    """Make what is to make, and unless nothing was to be written, write the report and say where it is."""
    synthesize(session, ask)
    if not session.dry:
        report.write(session.context, session.seconds)
        session.say(f"report: {report.path(session.context)}")


@launch.stage(STAGE)
def synthesize(session: Session, ask: Asked) -> None:
    """Find what is to do, make it, and prove every expected chunk."""
    limits = session.settings.synthesis
    with contextlib.nullcontext() if session.dry else ask.path.locked(limits.lock_timeout_s):
        keeper = Keeper(ask.path, ask.engine)
        if not session.dry:
            pipeline_json.begin(ask.path)
            if found := keeper.recover():
                session.note(f"{STAGE}: {found} chunks of a process that was killed are taken over")
        state = books.with_rows(ask.path.read(), ask.path.journal())
        before = books.examine(ask.path, state, bookstate.file_ids(str(ask.path.path), state, ask.file_ids))
        tasks = plan(session, ask, state, before)
        if session.dry:
            show(session, before, tasks)
            return
        check(ask, tasks)
        keeper.take(before, limits)
        make(session, ask, keeper, before, tasks)
        finish(session, ask, before, tasks)


def plan(session: Session, ask: Asked, state: State, found: Sequence[Book]) -> list[Task]:
    """Return the chunks to make, each with the engines that are asked for it."""
    wanted = session.settings.run.retry
    routes: dict[tuple[str, int], tuple[str, ...]] = {}
    for book in found:
        numbers = range(1, len(book.texts) + 1) if wanted == retry.ALL else book.todo
        for number in numbers:
            if route := retry.route(book.todo.get(number, ""), wanted, ask.engine, ask.fallback):
                routes[book.file_id, number] = route
    of = {book.file_id: book for book in found}
    paths = books.targets(ask.path, state, found, routes)
    return [_task(of[unit[0]], unit[1], paths[unit], ask.voiced(route)) for unit, route in routes.items()]


def _task(book: Book, number: int, audio: str, asked: tuple[tuple[str, str], ...]) -> Task:
    row = book.rows.get(number, {})
    before = chunks.attempts(row)
    success, valid = row.get("status") == chunks.SUCCESS, number not in book.todo
    return Task(book.file_id, number, book.texts[number - 1].path, audio, asked, before, success, valid)


def check(ask: Asked, tasks: Sequence[Task]) -> None:
    """Raise UserError unless every engine that may be asked for a chunk is here, and its audio has a folder."""
    for name in dict.fromkeys(name for task in tasks for name, _ in task.asked):
        if lacking := voices.lacks(ask.known[name]):
            raise UserError(lacking)
    for folder in dict.fromkeys(ask.path.absolute(task.audio).parent for task in tasks):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise UserError(f"{error.filename} is a file, no folder of audio: {_ANOTHER} {ask.path.path}") from None
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise
            raise UserError(f"{folder}: {error.strerror}: {_ANOTHER} {ask.path.path}") from None


_ANOTHER = "give the book another artifacts.audio_dir in"


def show(session: Session, found: Sequence[Book], tasks: Sequence[Task]) -> None:
    """Print the chunks that are to do, one a line."""
    anew = {(task.file_id, task.number) for task in tasks if task.valid}
    for book in found:
        if len(found) > 1:
            session.say(f"{book.file_id}:")
        left = {n for n, why in book.todo.items() if (session.settings.run.retry == retry.NONE
                                                      and chunks.of_an_engine(why))}  # fmt: skip
        for number in range(1, len(book.texts) + 1):
            if (book.file_id, number) in anew:
                session.say(f"{chunks.chunk_id(number)} valid")
            elif number in book.todo and number not in left:
                session.say(f"{chunks.chunk_id(number)} {book.todo[number]}")


def make(session: Session, ask: Asked, keeper: Keeper, found: Sequence[Book], tasks: Sequence[Task]) -> None:
    """Make the chunks."""
    if tasks:
        gauge = by_ledger(session.context, STAGE, [task.unit for task in tasks], "chunk", retry.ALL)
        with keeper.folding(), session.progress(gauge), session.pipeline() as pipeline:
            build(pipeline, session.context, ask, tasks, _seconds(session, found))


def _seconds(session: Session, found: Sequence[Book]) -> dict[str, float]:
    cpm = session.settings.synthesis.cpm
    return {
        unit_of(book.file_id, number): speech.est_dur(text.chars, cpm)
        for book in found
        for number, text in enumerate(book.texts, 1)
    }


def build(pipeline: Any, context: Context, ask: Asked, tasks: Sequence[Task], seconds: Mapping[str, float]) -> Any:
    """Compose the pipeline: the chunks of all books, packed into items, each made on its own."""
    from resplice.transforms.steps import Work, source

    of = {task.unit: task for task in tasks}
    items = ([asdict(of[unit]) for unit in item] for item in work_items({unit: seconds[unit] for unit in of}))
    listed = spans.write(context, STAGE, "chunks", items, _tasks)
    speak = listed.lines.each(Speak(context, ask.path, ask.known, ask.timeout_s))
    return pipeline | "Items" >> source(listed.spans) | "Synthesize" >> Work(speak, "Speak")


def _tasks(value: Sequence[Mapping[str, Any]]) -> list[Task]:
    return [Task.from_json(task) for task in value]


def finish(session: Session, ask: Asked, before: Sequence[Book], tasks: Sequence[Task]) -> None:
    """Look at every expected chunk again, count, and tell what was made, kept and failed, and what that saved."""
    context = session.context
    state = ask.path.read()
    after = books.examine(ask.path, state, [book.file_id for book in before])
    done = sum(sum(1 for _ in books.made_by(ask.path, book, context.run.id)) for book in after)
    total, valid = sum(len(book.texts) for book in after), sum(book.valid for book in after)
    refused = list(_refused(session, after, tasks))
    summary = session.finish(STAGE, total, done, valid - done, refused, unit="chunk")
    told = _tell(session, after, tasks, refused)
    session.counts[STAGE] |= told
    books_evidence.write(context, ask.path, state, after)
    store, stage = context.workspace.store, context.stage(STAGE)
    refusals.put(store, f"{stage}/books.json", provenance.document({b.file_id: _sums(b) for b in after}))
    if tasks:
        refusals.put(store, f"{stage}/saved.json", provenance.document(told))
    if summary.refused:
        session.exit_code = Exit.INCOMPLETE


def _refused(session: Session, after: Sequence[Book], tasks: Sequence[Task]) -> Iterator[Refused]:
    """Yield the refusals of the chunks that are not valid: what the engines said now, else what is known of them."""
    open_ = {unit_of(book.file_id, number): (book, number) for book in after for number in book.todo}
    tried = {task.unit for task in tasks}
    yield from session.refusals_of(STAGE, [unit for unit in open_ if unit in tried])
    for unit, (book, number) in open_.items():
        if unit not in tried:
            why, detail = book.todo[number], book.told(number)
            yield Refused(session.context.run.id, STAGE, unit, "", why, detail, provenance.now())


def _sums(book: Book) -> dict[str, Any]:
    rows = [row for number, row in book.rows.items() if number not in book.todo]
    names = sorted({str(row.get("engine")) for row in rows})
    return {
        "chunks": len(book.texts),
        "valid": book.valid,
        "engines": {name: sum(1 for row in rows if str(row.get("engine")) == name) for name in names},
    }


def _tell(session: Session, after: Sequence[Book], tasks: Sequence[Task], refused: Sequence[Refused]) -> dict[str, Any]:
    """Say what this process did, and return its figures."""
    entries = ledger.load(session.context.workspace.store, session.context.stage(STAGE))
    mine = [entry for task in tasks if (entry := entries.get(task.unit)) and entry.seq == session.context.run.seq]
    made = [entry.counts["made_s"] for entry in mine if entry.outcome == "done"]
    spent = sum(entry.counts["engine_s"] for entry in mine)
    valid = sum(book.valid for book in after)
    kept = valid - len(made)
    saved = kept * (sum(made) / len(made) if made else 0.0)
    total = sum(len(book.texts) for book in after)
    session.say(f"{STAGE}: {len(made)} made, {kept} kept, {len(refused)} failed of {total} chunks")
    for line in sorted(refused, key=lambda line: (line.unit.rpartition("/")[0], len(line.unit), line.unit)):
        session.say(f"  {line.unit} {line.reason}" + (f": {line.detail}" if line.detail else ""))
    for entry in mine:
        if entry.outcome != "done" and entry.unit not in {line.unit for line in refused}:
            session.say(f"  {entry.unit} was not made anew ({entry.reason}); its valid audio is kept")
    share = f" ({saved / (saved + spent):.0%})".replace("%", " %") if saved else ""
    session.say(f"  engine time: {spent:.1f} s spent, {saved:.1f} s saved{share} against making all again")
    return {"made": len(made), "kept": kept, "failed": len(refused), "engine_s": round(spent, 3),
            "saved_s": round(saved, 3)}  # fmt: skip

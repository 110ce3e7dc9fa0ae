"""Embedding items of work: each content is decoded, and a model infers its vectors, in a process that can be killed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from resplice.io import pool, sidecars, vectors
from resplice.io.context import Context
from resplice.io.embedders import Choice
from resplice.io.fetch import fetched
from resplice.io.library import LibraryFile
from resplice.io.sandbox import Sandbox
from resplice.io.segments import Tars
from resplice.io.sounds import Sound, readable
from resplice.io.spans import Lines, Span
from resplice.io.store import Place
from resplice.io.walk import located
from resplice.transforms import paths, windows
from resplice.transforms.embedding import DECODE, EMBED, PHASES, READ, Item, Task, Unit
from resplice.transforms.library import Identity
from resplice.transforms.records import Reason, Refusal
from resplice.transforms.windows import Windows

STAGE = "embed"
_PATIENCE = 3
_LOAD, _INFER = "resplice.io.embedders:Choice.load", "resplice.io.embedders:infer"
Vectors = list[tuple[float, NDArray[np.float32]]]
"""Where each row's window starts (seconds), and its vector."""


@dataclass(frozen=True)
class Job:
    """What workers know of an embedding: the model, the windows, the places, and the number of this writing.

    `dim`: how many numbers the vectors of the model have that are there already, 0 without any.
    """

    context: Context
    choice: Choice
    windows: Windows
    out: Place
    writing: int
    library: LibraryFile | None = None
    of_videos: bool = False
    with_results: bool = False
    tars: Tars | None = None
    dim: int = 0

    def identity(self, content: str) -> Identity:
        """Return the identity of the vectors of a content."""
        return Identity(content, self.choice.digest, str(self.windows))


@dataclass(frozen=True, eq=False)
class Outcome:
    """What became of a content: its vectors (of a recording of `seconds` at `rate` Hz), or why there are none."""

    task: Task
    sha256: str
    vectors: Vectors = field(default_factory=list)
    seconds: float = 0.0
    rate: int = 0
    refusal: Refusal | None = None
    phase: str = ""

    @property
    def of_unit_alone(self) -> bool:
        """Return whether it tells nothing of the other units of its content: the one that was read is gone, or other
        bytes by now.
        """
        return self.sha256 != self.task.unit.sha256 or self.phase == READ


class _Waiting(NamedTuple):
    """A content that is decoded, whose windows wait for the model."""

    place: int
    sound: Sound
    rows: list[list[tuple[int, int]]]


@dataclass(frozen=True)
class Load:
    """Gives the function that infers the outcomes of an item: picklable; killable workers load the model."""

    job: Job
    lines: Lines[Item]

    def __call__(self) -> Callable[[Span], tuple[Item, list[Outcome]]]:
        """Return the function."""
        return _Infer(self.job, self.lines).item


class _Infer:
    """The outcomes of items."""

    def __init__(self, job: Job, lines: Lines[Item]) -> None:
        self._job, self._lines = job, lines

    def item(self, span: Span) -> tuple[Item, list[Outcome]]:
        """Return an item and what became of each of its contents, in order."""
        (item,) = self._lines(span)
        return item, outcomes(self._job, item.tasks)


def outcomes(job: Job, tasks: Sequence[Task]) -> list[Outcome]:
    """Return what becomes of contents: decoded one after the other, their windows given to the model in batches.

    A content whose first file has changed since is read from its other files.
    """
    run, most = job.context.settings.run, job.choice.settings.batch_size
    made: dict[int, Outcome] = {}
    waiting: list[_Waiting] = []
    with ExitStack() as stack:
        prepare = (_LOAD, job.choice)
        sandbox = stack.enter_context(pool.borrowed(run.timeout_s, run.memory_mb, prepare))
        reader = Reader(job, stack, sandbox)
        left = deque(tasks)
        while left:
            task, place = left.popleft(), len(made)
            outcome, sound = reader.read(task)
            if len(task.units) > 1 and outcome.of_unit_alone:
                outcome = replace(outcome, task=Task(task.units[:1]))
                left.appendleft(Task(task.units[1:]))
            made[place] = outcome
            if sound is not None:
                rows = windows.cut(job.windows, sound.samples, job.choice.sample_rate)
                waiting.append(_Waiting(place, sound, rows))
            if sum(len(spans) for each in waiting for spans in each.rows) >= most:
                made |= _inferred(job, sandbox, waiting, made)
                waiting = []
        made |= _inferred(job, sandbox, waiting, made)
    return [made[place] for place in range(len(made))]


class Reader:
    """Reads contents in the killable worker."""

    def __init__(self, job: Job, stack: ExitStack, sandbox: Sandbox) -> None:
        self._job, self._sandbox = job, sandbox
        self._tars = stack.enter_context(job.tars.opened()) if job.tars else None

    def read(self, task: Task) -> tuple[Outcome, Sound | None]:
        """Return the outcome of a content so far, and its audio unless that is not needed or not to be had."""
        unit = task.unit
        outcome = Outcome(task, unit.sha256)
        try:
            if task.known is not None:
                self._check_kind(unit)
                return _copied(self._job, outcome), None
            for _ in range(_PATIENCE):
                sha256, sound = self._decoded(unit, outcome.sha256)
                if sha256 == outcome.sha256:
                    return replace(outcome, seconds=sound.duration_s, rate=sound.source_rate), sound
                outcome = replace(outcome, sha256=sha256)  # it changed since it was hashed
            raise Refusal(Reason.UNDECODABLE, "the file changes again and again while it is read")
        except Refusal as refusal:
            return _refused(outcome, refusal, PHASES.get(refusal.reason, DECODE)), None

    def _check_kind(self, unit: Unit) -> None:
        """Refuse a file whose extension is of no kind that is embedded, whatever is in it."""
        if self._tars is None and not readable(unit.path):
            raise Refusal(Reason.UNSUPPORTED, f"known kinds: {', '.join(sorted(paths.EXTENSIONS))}")

    def _decoded(self, unit: Unit, sha256: str) -> tuple[str, Sound]:
        """Return the digest of what is decoded, and the audio."""
        if self._tars is not None:
            found, data = self._tars.read(unit)
            return found, self._call(data, f"{unit.segment}.flac")
        place, key = located(unit.path, self._job.context.settings.store)
        token = _token(place, key)
        self._check_kind(unit)
        if token != unit.token or not sha256:
            sha256 = _digest(place, key)
        with _local(place, key) as path:
            sound = self._call(path, unit.path)
        return (sha256 if _token(place, key) == token else ""), sound

    def _call(self, source: str | bytes, name: str) -> Sound:
        decode, rate = "resplice.io.sounds:decode_alone", self._job.choice.sample_rate
        return _called(self._sandbox, decode, source, name, rate)  # type: ignore[no-any-return]


def _called(sandbox: Sandbox, function: str, *args: Any, times: int = 1) -> Any:
    """Return what a function gives in the killable worker; a limit that it met is told with its setting."""
    try:
        return sandbox.call(function, *args, times=times)
    except Refusal as refusal:
        if refusal.reason == Reason.OUT_OF_MEMORY:
            raise Refusal(Reason.CRASHED, f"{refusal.detail}; raise run.memory_mb") from None
        if refusal.reason == Reason.TIMEOUT:
            raise Refusal(Reason.TIMEOUT, f"{refusal.detail}; raise run.timeout_s") from None
        raise


def _token(place: Place, key: str) -> str:
    """Return the version of a file. Refusal `missing` without one, `undecodable` for one that may not be read."""
    try:
        head = place.store.head(key)
    except PermissionError as error:
        raise Refusal(Reason.UNDECODABLE, str(error.strerror)) from None
    except (OSError, ValueError) as error:
        raise Refusal(Reason.MISSING, str(error)) from None
    if head is None:
        raise Refusal(Reason.MISSING, "there is no such file")
    return head.token


def _digest(place: Place, key: str) -> str:
    try:
        return sidecars.digest(place.store, key)
    except OSError as error:
        raise Refusal(Reason.UNDECODABLE, f"it cannot be read: {error.strerror or error}") from None


@contextmanager
def _local(place: Place, key: str) -> Iterator[str]:
    """Give a native path of an object."""
    if place.local:
        yield f"/{key}"
        return
    with fetched(place.store, key) as path:
        yield str(path)


def _refused(outcome: Outcome, refusal: Refusal, phase: str) -> Outcome:
    return replace(outcome, refusal=refusal, phase=phase)


def _copied(job: Job, outcome: Outcome) -> Outcome:
    """Return the outcome of a content whose rows are there under another key."""
    assert outcome.task.known is not None
    table = vectors.read(job.out.store, outcome.task.known)
    starts, found = table.column("start_s").to_pylist(), vectors.matrix(table)
    seconds, rate = (table.column(name)[0].as_py() for name in ("duration_s", "sample_rate"))
    return replace(outcome, vectors=list(zip(starts, found, strict=True)), seconds=seconds, rate=rate)


def _inferred(
    job: Job, sandbox: Sandbox, waiting: Sequence[_Waiting], made: Mapping[int, Outcome]
) -> dict[int, Outcome]:
    """Return the outcomes of contents that wait for the model; a batch that fails is tried again one by one."""
    if not waiting:
        return {}
    parts = [each.sound.samples[start:end] for each in waiting for row in each.rows for start, end in row]
    try:
        found = _called(sandbox, _INFER, job.choice, parts, times=len(waiting))
    except Refusal as refusal:
        if len(waiting) == 1:
            return {waiting[0].place: _refused(made[waiting[0].place], refusal, EMBED)}
        return {place: outcome for each in waiting for place, outcome in _inferred(job, sandbox, [each], made).items()}
    left = iter(found)
    return {each.place: _with_rows(job, made[each.place], [[next(left) for _ in row] for row in each.rows], each.rows)
            for each in waiting}  # fmt: skip


def _with_rows(
    job: Job, outcome: Outcome, of_rows: list[list[NDArray[np.floating]]], spans: list[list[tuple[int, int]]]
) -> Outcome:
    """Return the outcome of a content with the vectors of its rows, each the mean of those of its windows."""
    try:
        _check_dim(job, {len(vector) for row in of_rows for vector in row})
        starts = [row[0][0] / job.choice.sample_rate for row in spans]
        rows = list(zip(starts, map(windows.mean, of_rows), strict=True))
    except Refusal as refusal:
        return _refused(outcome, refusal, EMBED)
    except ValueError as error:
        return _refused(outcome, Refusal(Reason.NON_FINITE, str(error)), EMBED)
    return replace(outcome, vectors=rows if job.windows.many else [(0.0, rows[0][1])])


def _check_dim(job: Job, dims: set[int]) -> None:
    """Refuse vectors that are not as long as all others of their embedder: they could not be compared."""
    context, first = job.context, min(dims)
    right = job.dim or vectors.agreed_dim(context.workspace.store, context.stage(STAGE), job.choice.digest, first)
    if wrong := sorted(dims - {right}):
        told = f"{job.choice.name} gave a vector of {wrong[0]} numbers, and of {right} before"
        raise Refusal(Reason.CRASHED, told)

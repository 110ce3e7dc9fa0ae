"""Progress of long work: a live bar on a terminal, elsewhere a plain line at its begin, now and then, at its end."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, Any, Protocol

from resplice.io.progress import Counts
from resplice.transforms.records import UserError

BAR_EVERY_S = 0.5
LINE_EVERY_S = 15.0
_FIELDS = ("description:9", "fields[units]", "fields[pace]")
LOAD_SHARE = 20.0
"""Counting takes at most one part in so many of the time."""


@dataclass(frozen=True)
class State:
    """Where some work stands: `before` of its units were finished when it began, `elapsed_s` ago."""

    title: str
    unit: str
    total: int
    counts: Counts
    before: int = 0
    elapsed_s: float = 0.0

    @property
    def finished(self) -> int:
        """Return the finished units; rows of videos that nobody planned may be one part more."""
        return min(self.counts.finished, self.total)

    @property
    def rate(self) -> float:
        """Return the units a second that this work finished itself."""
        return max(self.finished - self.before, 0) / self.elapsed_s if self.elapsed_s > 0 else 0.0

    @property
    def left_s(self) -> float | None:
        """Return the seconds that are left at this rate, None before there is one."""
        return (self.total - self.finished) / self.rate if self.rate else None

    @property
    def outcome(self) -> str:
        """Return the counts by outcome, and the hours of audio."""
        counts, told = self.counts, []
        if counts.refused or counts.seconds:
            told.append(f"{counts.done} done")
        if counts.refused:
            reasons = ", ".join(f"{count} {reason}" for reason, count in counts.refused.items())
            told.append(f"{sum(counts.refused.values())} refused ({reasons})")
        if counts.again:
            told.append(f"{counts.again} of them tried again")
        if counts.seconds:
            told.append(f"{counts.seconds / 3600:.2f} h of audio")
        return ", ".join(told)

    def line(self, last: bool = False) -> str:
        """Return the state as a line; `last`: the work is over."""
        pace = f" in {span(self.elapsed_s)}" if last else ""
        if self.rate:
            pace += f", {self.rate:.3g}/s"
            pace += "" if last or self.left_s is None else f", {span(self.left_s)} left"
        outcome = f": {self.outcome}" if self.outcome else ""
        return f"{self.title}: {self.finished} of {self.total} {self.unit}s{pace}{outcome}"


def span(seconds: float) -> str:
    """Return a time for people: `0.4 s`, `41 s`, `3 min 20 s`, `2 h 5 min`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


class Display(Protocol):
    """Where progress is shown; `every_s` is how often it is worth counting."""

    every_s: float

    def show(self, state: State, last: bool = False) -> None:
        """Show the state of the work that has this title; `last`: it is over."""

    def say(self, text: str) -> None:
        """Print a line beside it."""

    def close(self) -> None:
        """Leave what was shown, and give the terminal back."""


class Lines:
    """Plain lines."""

    every_s = LINE_EVERY_S

    def __init__(self, out: IO[str]) -> None:
        self._out = out

    def show(self, state: State, last: bool = False) -> None:
        """Print a line."""
        self.say(state.line(last))

    def say(self, text: str) -> None:
        """Print a line."""
        print(text, file=self._out, flush=True)

    def close(self) -> None:
        """Do nothing: what was printed stays."""


class Bars:
    """A live bar for each title, its outcome below."""

    every_s = BAR_EVERY_S

    def __init__(self, out: IO[str]) -> None:
        from rich.console import Console

        self._bars = _bars(Console(file=out, markup=False, highlight=False))
        self._tasks: dict[str, Any] = {}

    def show(self, state: State, last: bool = False) -> None:
        """Draw the bar."""
        left = f" {span(state.left_s)} left" if state.left_s is not None else ""
        fields: dict[str, Any] = {
            "units": f"{state.finished}/{state.total} {state.unit}s",
            "pace": f"in {span(state.elapsed_s)}" if last else f"{state.rate:.3g}/s{left}",
            "outcome": state.outcome,
        }
        if state.title not in self._tasks:
            self._bars.start()
            self._tasks[state.title] = self._bars.add_task(state.title, total=state.total, **fields)
        self._bars.update(self._tasks[state.title], completed=state.finished, total=state.total, **fields)
        if last:
            self._bars.stop_task(self._tasks.pop(state.title))

    def say(self, text: str) -> None:
        """Print a line above the bars."""
        self._bars.console.print(text, soft_wrap=True)

    def close(self) -> None:
        """Stop drawing; the bars stay."""
        self._bars.stop()


def _bars(console: Any) -> Any:
    """Return rich's progress with the outcome of each task on lines of its own: it may be long."""
    from rich.progress import BarColumn, Progress, TextColumn
    from rich.text import Text

    class WithOutcome(Progress):
        def get_renderables(self) -> Iterator[Any]:
            for task in self.tasks:
                yield self.make_tasks_table([task])
                if task.fields["outcome"]:
                    yield Text(f"  {task.fields['outcome']}", style="dim")

    title, units, pace = (TextColumn(f"{{task.{name}}}", markup=False) for name in _FIELDS)
    return WithOutcome(title, BarColumn(24), units, pace, console=console)


def display(out: IO[str] | None = None) -> Display:
    """Return bars if the stream (stderr) is a terminal, else lines."""
    out = out or sys.stderr
    return Bars(out) if out.isatty() else Lines(out)


@contextlib.contextmanager
def shown(
    title: str, unit: str, total: int, count: Callable[[], Counts], quiet: bool = False, before: int = 0
) -> Iterator[None]:
    """Show how far `count()` has come of `total` units while the block runs, unless it must be `quiet`."""
    if quiet or not total:
        yield
        return
    where, began, ended = display(), time.monotonic(), threading.Event()

    def show(last: bool = False) -> None:
        with contextlib.suppress(OSError, UserError):  # what cannot be counted must not end the work
            where.show(State(title, unit, total, count(), before, time.monotonic() - began), last)

    thread = threading.Thread(target=_keep, args=(show, where.every_s, ended), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        show(last=True)
        where.close()


def _keep(show: Callable[[], None], every_s: float, ended: threading.Event) -> None:
    wait = 0.0
    while not ended.wait(wait):
        began = time.monotonic()
        show()
        wait = max(every_s, LOAD_SHARE * (time.monotonic() - began))


class Told:
    """Counts that the work tells itself, where no ledger holds them."""

    def __init__(self) -> None:
        self._done = 0

    def __call__(self, done: int, total: int = 0) -> None:
        """Tell how many units are done, of how many."""
        self._done = done

    def counts(self) -> Counts:
        """Return what was told last."""
        return Counts(self._done)

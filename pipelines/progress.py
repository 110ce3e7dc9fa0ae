"""Progress of long work, told from the ledger: a live bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from resplice.io import ledger
from resplice.io.ledger import Entry
from resplice.io.store import Store

_LINE_EVERY_S = 15.0
_LOAD_SHARE = 20.0


@dataclass(frozen=True)
class Counts:
    """Where the work of a stage stands: videos by outcome, and seconds of audio that came out."""

    done: int
    refused: int
    seconds: float

    def __str__(self) -> str:
        return f"{self.done} done, {self.refused} refused, {self.seconds / 3600:.2f} h of audio"


def counts(entries: Iterator[Entry] | list[Entry]) -> Counts:
    """Count the entries of a ledger."""
    outcomes: Counter[str] = Counter()
    seconds = 0.0
    for entry in entries:
        outcomes[entry.outcome] += 1
        seconds += entry.counts.get("seconds", 0.0)
    return Counts(outcomes["done"], outcomes["refused"], seconds)


@contextlib.contextmanager
def shown(store: Store, stage: str, title: str, units: Collection[str], quiet: bool) -> Iterator[None]:
    """Show the progress of a stage (`stage` is its key prefix) while the block runs."""
    if quiet or not units:
        yield
        return
    ended = threading.Event()
    watch = _bar if sys.stderr.isatty() else _lines
    thread = threading.Thread(target=watch, args=(store, stage, title, frozenset(units), ended), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _states(
    store: Store, stage: str, units: Collection[str], ended: threading.Event, every_s: float
) -> Iterator[Counts]:
    """Yield the counts now and then, and once more at the end; reading them costs at most a twentieth of the time."""
    wait = every_s
    while not ended.wait(wait):
        began = time.monotonic()
        yield counts(_of(store, stage, units))
        wait = max(every_s, _LOAD_SHARE * (time.monotonic() - began))
    yield counts(_of(store, stage, units))


def _of(store: Store, stage: str, units: Collection[str]) -> list[Entry]:
    return [entry for unit, entry in ledger.load(store, stage).items() if unit in units]


def _lines(store: Store, stage: str, title: str, units: Collection[str], ended: threading.Event) -> None:
    began = time.monotonic()
    for state in _states(store, stage, units, ended, _LINE_EVERY_S):
        rate = (state.done + state.refused) / max(time.monotonic() - began, 1e-9)
        print(f"{title}: {state.done + state.refused} of {len(units)} videos, {rate:.1f}/s: {state}", file=sys.stderr)


def _bar(store: Store, stage: str, title: str, units: Collection[str], ended: threading.Event) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description:9}"), BarColumn(), MofNCompleteColumn(),
               TextColumn("{task.fields[rate]}"), TimeRemainingColumn(),
               TextColumn("{task.fields[state]}"))  # fmt: skip
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task, began = bar.add_task(title, total=len(units), state="", rate=""), time.monotonic()
        for state in _states(store, stage, units, ended, 0.5):
            done = state.done + state.refused
            rate = f"{done / max(time.monotonic() - began, 1e-9):.1f}/s"
            bar.update(task, completed=done, state=str(state), rate=rate)

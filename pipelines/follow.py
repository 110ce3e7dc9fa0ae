"""`status --follow`: the progress of the processes of a run, from another terminal, until they have ended."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from resplice.io import runstate
from resplice.io.context import Context
from resplice.io.processes import KILLED, UNKNOWN, OpenProcess, Processes
from resplice.io.progress import Counts
from resplice.pipelines import progress
from resplice.pipelines.cli import program
from resplice.pipelines.progress import State
from resplice.transforms.records import Exit

POLL_S = 0.5
MEANING = {
    Exit.DONE: "done",
    Exit.FAILED: "failed",
    Exit.USAGE: "usage or configuration",
    Exit.INCOMPLETE: "incomplete",
    Exit.CONFLICT: "conflict",
    Exit.AGAIN: "interrupted: run the same command again",
    Exit.INTERRUPTED: "interrupted by Ctrl-C",
}


def name(entry: Mapping[str, Any]) -> str:
    """Return a process as people are told of it."""
    return f"process {entry['seq']} ({entry['command']})"


def state_of(process: OpenProcess) -> State | None:
    """Return the progress of a process, None where it is between two stages."""
    gauge = process.gauge
    if gauge is None:
        return None
    elapsed = (datetime.now(UTC) - datetime.fromisoformat(gauge.at)).total_seconds()
    title = f"{process.seq} {process.entry['command']}"
    title += f": {gauge.stage}" if gauge.stage != process.entry["command"] else ""
    return State(title, gauge.unit, gauge.total, process.counts or Counts(), gauge.before, max(elapsed, 0.0))


def told(process: OpenProcess) -> str:
    """Return a line about an open process: at work, or how to go on after it."""
    entry = process.entry
    if process.state == KILLED:
        again = shlex.join(entry["argv"]) if entry["argv"] else f"{entry['command']} ..."
        return (
            f"{name(entry)} was killed: there is no process {entry['pid']} of it on {entry['host']} any more; "
            f"what it made is kept\nrun the same command again: {program()} {again}"
        )
    if process.state == UNKNOWN:
        host = f"on host {entry['host']}" if entry.get("host") else "on a host that it did not record"
        return (
            f"{name(entry)} has recorded no end; whether it runs {host} cannot be seen from here; "
            f"its last sign of life: {process.seen}"
        )
    state = state_of(process)
    return f"{name(entry)} is running" + (f"; {state.line()}" if state else "")


def follow(context: Context) -> None:
    """Show the processes of the run that have recorded no end until they have, or were killed."""
    runstate.record(context)
    processes = Processes(context)
    if not processes.look():
        print(f"no process of run {context.run.id} is at work")
        return
    where = progress.display(sys.stdout)
    try:
        Follower(processes, where).follow()
    finally:
        where.close()


class Follower:
    """What was shown of the processes of a run, and what follows from their next look."""

    def __init__(self, run: Processes, where: progress.Display) -> None:
        self._run = run
        self._where = where
        self._before: dict[int, OpenProcess] = {}
        self._due = 0.0

    def follow(self) -> None:
        """Show the processes until none is left that could be running."""
        while True:
            began = time.monotonic()
            if not self.look():
                return
            time.sleep(max(POLL_S, progress.LOAD_SHARE * (time.monotonic() - began)))

    def look(self) -> bool:
        """Look at the processes once, show what changed; return whether one is left that could be running."""
        moment = time.monotonic()
        due = moment >= self._due
        now = {process.seq: process for process in self._run.look()}
        for seq in sorted(self._before.keys() - now.keys()):
            self._ended(self._before[seq])
        for process in now.values():
            self._show(process, due)
        if due:
            self._due = moment + self._where.every_s
        self._before = now
        return any(process.state != KILLED for process in now.values())

    def _show(self, process: OpenProcess, due: bool) -> None:
        before = self._before.get(process.seq)
        moved = before is not None and stage_of(before) != stage_of(process)
        if before and moved:
            self._close(before, complete=True)
        if before is None or before.state != process.state:
            if process.state == KILLED and before:
                self._close(process, complete=False)
            if before or process.state != KILLED or self._is_latest(process):
                self._where.say(told(process))
        elif (state := state_of(process)) and process.state != KILLED and (due or moved):
            self._where.show(state)

    def _is_latest(self, process: OpenProcess) -> bool:
        return process.seq == len(self._run.entries())

    def _ended(self, before: OpenProcess) -> None:
        entry = next(entry for entry in self._run.entries() if entry["seq"] == before.seq)
        self._close(before, complete=entry["exit"] in (Exit.DONE, Exit.INCOMPLETE))
        self._where.say(f"{name(entry)} ended with exit {entry['exit']}: {MEANING.get(entry['exit'], 'unknown')}")

    def _close(self, process: OpenProcess, complete: bool) -> None:
        """Show the last state of a stage; what its files no longer tell follows from its end."""
        if (state := state_of(self._run.again(process))) is not None:
            gauge = process.gauge
            if complete and gauge and not gauge.lasting:
                state = replace(state, counts=Counts(gauge.total))
            self._where.show(state, last=True)


def stage_of(process: OpenProcess) -> str:
    """Return what tells the work of a process from its next one: the moment when it began."""
    return process.gauge.at if process.gauge else ""

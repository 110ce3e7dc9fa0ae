"""The processes of a run that have recorded no end: which of them run, what they are working on, which were killed."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

import psutil

from resplice.io import runs
from resplice.io.context import Context
from resplice.io.progress import Counts, Gauge, Watch

RUNNING, KILLED, UNKNOWN = "running", "killed", "unknown"
_CLOCK_S = 2.0  # by which the moment of a process's start may be off


@dataclass(frozen=True)
class OpenProcess:
    """A process without an end: its entry in run.json, its state, and its latest sign of life (ISO-8601).

    `gauge` is what it is working on and `counts` how far that has come, None before the first stage and between two.
    """

    entry: Mapping[str, Any]
    state: str
    seen: str
    gauge: Gauge | None = None
    counts: Counts | None = None

    @property
    def seq(self) -> int:
        """Return its number within the run."""
        return int(self.entry["seq"])

    def to_json(self) -> dict[str, Any]:
        """Return what `status --json` tells of it."""
        at_work = None
        if self.gauge and self.counts:
            at_work = {"stage": self.gauge.stage, "unit": self.gauge.unit, "in": self.gauge.total,
                       "finished": self.counts.finished, **asdict(self.counts)}  # fmt: skip
        return {"seq": self.seq, "state": self.state, "seen": self.seen, "at_work": at_work}


class Processes:
    """The open processes of a run, looked at again and again."""

    def __init__(self, context: Context) -> None:
        self._store = context.workspace.store
        self._run_id = context.run.id
        self._watches: dict[int, tuple[str, Watch]] = {}

    def entries(self) -> list[dict[str, Any]]:
        """Return all processes of run.json."""
        return list((runs.load(self._store, self._run_id) or {"processes": []})["processes"])

    def look(self) -> list[OpenProcess]:
        """Return the open processes as they are now, in order."""
        states = {entry["seq"]: state(entry) for entry in self.entries() if entry["end"] is None}
        # Read again: a process that is gone may have recorded its end after the first reading.
        return [self._look(e, states[e["seq"]]) for e in self.entries() if e["end"] is None and e["seq"] in states]

    def _look(self, entry: Mapping[str, Any], state_: str) -> OpenProcess:
        gauge = Gauge.from_json(entry["at_work"]) if entry.get("at_work") else None
        counts = self._watch(entry["seq"], gauge).counts() if gauge else None
        seen = max(entry["start"], gauge.at if gauge else "", counts.last if counts else "")
        return OpenProcess(entry, state_, seen, gauge, counts)

    def again(self, process: OpenProcess) -> OpenProcess:
        """Return the process with the counts of what it was working on, as they are now."""
        if process.gauge is None:
            return process
        return replace(process, counts=self._watch(process.seq, process.gauge).counts())

    def _watch(self, seq: int, gauge: Gauge) -> Watch:
        known = self._watches.get(seq)
        if known is None or known[0] != gauge.at:
            known = self._watches[seq] = (gauge.at, Watch(self._store, gauge))
        return known[1]


def state(entry: Mapping[str, Any]) -> str:
    """Return whether a process without an end runs or was killed; unknown if it is of another host."""
    if entry.get("host") != platform.node() or not entry.get("pid"):
        return UNKNOWN
    try:
        process = psutil.Process(entry["pid"])
        began, dead = process.create_time(), process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return KILLED
    except psutil.AccessDenied:
        return UNKNOWN
    recorded = datetime.fromisoformat(entry["start"]).timestamp()
    # One that began later has only been given the number of a process that is gone.
    return KILLED if dead or began > recorded + _CLOCK_S else RUNNING

"""Stages run undisturbed, the same stages with one fault, and what must be the same after it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from faults.lane import Lane
from faults.outcome import Outcome, differences, digest
from faults.shelf import State
from faults.trio import UNNEEDED
from proxy import REPLY_LOST, REQUEST_LOST, SLOW_DOWN, Fault, Request

STAGES = ("baseline", "plan", "repair", "validate", "merge", "verify", "finalize --apply", "undo --apply",
          "rollback --to 0", "gc --apply", "gc --apply --wait 0")  # fmt: skip
"""The commands, in order: each begins with what the one before it left. The first gc marks, the second deletes."""
WAITS = Fault("after", "wait")
KILLS = {"kill before": Fault("before", "wait"), "kill after": WAITS}
TRIED_AGAIN = {
    "request lost": REQUEST_LOST,
    "response lost": REPLY_LOST,
    "500": Fault("after", "error", 500),
    "503 slow-down": SLOW_DOWN,
    "timeout": WAITS,
}
FAULTS = {**KILLS, **TRIED_AGAIN}
READS = ("GET", "HEAD")
ALL = 0
"""The number of a case that breaks the first try of every request."""
TRIES = 3
VIEWED = ("workspace/snapshots/", "workspace/objects/")
"""Where everything is that a reader of the results reads."""
_PROBE = re.compile("probe-[0-9a-f]{32}")


@dataclass(frozen=True)
class Stage:
    """A command run undisturbed: the state before it, what readers saw before and after, its requests, its outcome."""

    command: str
    before: State
    views: tuple[str, str]
    requests: Sequence[Request]
    expected: Outcome


@dataclass(frozen=True)
class Case:
    """One fault, at the request of a number; `covers` how many requests meet it."""

    stage: int
    fault: str
    number: int
    covers: int = 1


@dataclass(frozen=True)
class Result:
    """What became of a case; `problems` are the broken promises."""

    case: Case
    name: str
    reran: bool = False
    problems: tuple[str, ...] = ()


@dataclass
class Trial:
    """The cases of one lane: what it measured, and the states that it has gone on from already."""

    lane: Lane
    stages: list[Stage] = field(default_factory=list)
    known: dict[tuple[int, str], tuple[str, ...]] = field(default_factory=dict)
    seen: dict[str, str] = field(default_factory=dict)
    through: set[int] = field(default_factory=set)

    def measure(self) -> None:
        """Run all stages undisturbed, each of them twice: the second time must change nothing."""
        view = self.lane.seen()
        for command in STAGES:
            before, last = self.lane.shelf.keep(), view
            code, log = self.lane.run(command, {}), self.lane.log()
            assert code == 0, self.lane.said()
            expected, view = self.lane.shelf.outcome(), self.lane.seen()
            assert self.lane.run(command, {}) == 0, self.lane.said()
            changed = differences(self.lane.shelf.outcome(), expected)
            assert not changed, f"{command} changes when it runs again: {changed}"
            self.stages.append(Stage(command, before, (last, view), log, expected))

    def cases(self, alone: bool, only: str | None) -> Iterator[Case]:
        """Yield all cases, or those of one stage."""
        for at, stage in enumerate(self.stages):
            if only not in (None, stage.command):
                continue
            for fault in FAULTS:
                for request in stage.requests:
                    if alone or fault in KILLS or request.method not in READS:
                        yield Case(at, fault, request.number)
                if fault not in KILLS and not alone:
                    yield Case(at, fault, ALL, sum(request.method in READS for request in stage.requests))

    def carry_out(self, case: Case) -> Result:
        """Carry out a case; a run whose fault met another request (a slow machine had it ask twice) does not count."""
        name = self._name(case)
        for _ in range(TRIES):
            self.lane.shelf.put_back(self.stages[case.stage].before)
            finished, met = self._disturbed(case)
            if met:
                break
        else:
            return Result(case, name, problems=("its requests were never those of the undisturbed run",))
        if finished:
            return Result(case, name, problems=tuple(self._differences(case.stage)))
        return Result(case, name, True, self._recovered(case))

    def _name(self, case: Case) -> str:
        stage = self.stages[case.stage]
        if case.number == ALL:
            return f"{stage.command}: every request: {case.fault}"
        request = stage.requests[case.number - 1]
        return f"{stage.command}: {request.method} {where(request)} (request {case.number}): {case.fault}"

    def _disturbed(self, case: Case) -> tuple[bool, bool]:
        """Run a stage with its fault; return whether it ended well, and whether the fault met the request meant."""
        stage, fault = self.stages[case.stage], FAULTS[case.fault]
        if case.fault in KILLS:
            killed = self.lane.kill(stage.command, case.number, fault)
            return False, killed and same(self.lane.log()[-1], stage.requests[case.number - 1])
        numbers = range(1, 10 * len(stage.requests), 2) if case.number == ALL else [case.number]
        code = self.lane.run(stage.command, dict.fromkeys(numbers, fault), hasty=fault is WAITS)
        log = self.lane.log()
        if case.number != ALL:
            return code == 0, len(log) >= case.number and same(log[case.number - 1], stage.requests[case.number - 1])
        broken = Counter(map(where, (request for request in log if request.fault)))
        return code == 0, code != 0 or not Counter(map(where, stage.requests)) - broken

    def _recovered(self, case: Case) -> tuple[str, ...]:
        """Look at what a reader sees, run the command again and compare; from the same state only once."""
        state = (case.stage, digest(self.lane.shelf.outcome()))
        if state not in self.known:
            stage = self.stages[case.stage]
            problems = []
            if self._view() not in stage.views:
                problems.append("a reader saw neither the old nor the new state")
            if self.lane.run(stage.command, {}) != 0:
                problems.append(f"run again it did not end well: {self.lane.said()[-500:]}")
            problems += self._differences(case.stage)
            if case.stage not in self.through and not problems:
                self.through.add(case.stage)
                problems += self._rest(case.stage)
            self.known[state] = tuple(problems)
        return self.known[state]

    def _view(self) -> str:
        objects = self.lane.shelf.objects()
        key = digest({key: digest(data) for key, data in objects.items() if key.startswith(VIEWED)})
        if key not in self.seen:
            self.seen[key] = self.lane.seen()
        return self.seen[key]

    def _rest(self, done: int) -> list[str]:
        """Run the stages after one, and compare in the end."""
        for stage in self.stages[done + 1 :]:
            if self.lane.run(stage.command, {}) != 0:
                return [f"{stage.command} after it did not end well: {self.lane.said()[-500:]}"]
        return self._differences(-1)

    def _differences(self, stage: int) -> list[str]:
        found = differences(self.lane.shelf.outcome(), self.stages[stage].expected)
        claimed = self.stages[stage].command.startswith("gc")  # by a gc that was killed, for some hours
        return [each for each in found if not (claimed and each == f"too much: workspace/{UNNEEDED}")]


def where(request: Request) -> str:
    """Return the object of a request, or the prefix that it lists."""
    place = request.path + (f"?{request.query}" if "list-type" in request.query else "")
    return _PROBE.sub("probe", place)  # each process probes the store below a name of its own


def same(one: Request, other: Request) -> bool:
    """Return whether two requests are for the same."""
    return (one.method, where(one)) == (other.method, where(other))

"""The real command killed at random moments, again and again until it is done.

    python tests/faults kills                         # 300 kills
    python tests/faults kills --rounds 20 --seed 5

`resplice recover --yes` works on a corpus of three videos over a real S3 server and SQLite. Its process group gets
SIGKILL at a random moment, and the same command is started again; after each kill a reader of snapshots must see the
old or the new results. A recovery is killed one to three times, then left to end, and bucket and database must be those
of a recovery that nobody disturbed, byte by byte but for clocks.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from faults.outcome import differences
from faults.shelf import RUN, Shelf, scratch, serving
from processes import Group
from recovering import STAGES

COMMAND = "recover --yes"
MOST = 3
"""Kills of one recovery."""


class Victim:
    """Recoveries of one corpus that are killed."""

    def __init__(self, shelf: Shelf, log: Path) -> None:
        self.shelf, self._log = shelf, log
        self._before, old = shelf.keep(), shelf.seen()
        began = time.monotonic()
        assert self.run(None) == 0, log.read_text()
        self.takes_s = time.monotonic() - began
        self._expected, self._views = shelf.outcome(), (old, shelf.seen())

    def run(self, seconds: float | None) -> int:
        """Run the command, killed after some seconds if it has not ended; return its exit code."""
        with self._log.open("ab") as log:
            program = [sys.executable, "-m", "resplice.pipelines", *self.shelf.arguments(COMMAND)]
            group = Group(program, stdout=log, stderr=log)
        with contextlib.suppress(subprocess.TimeoutExpired):
            group.leader.wait(seconds)
        group.end(signal.SIGKILL)
        return int(group.leader.returncode)

    def recovery(self, lot: random.Random, kills: int) -> tuple[list[str], list[str]]:
        """Recover afresh with some kills on the way; return the stages of the kills, and the broken promises."""
        self.shelf.put_back(self._before)
        stages, problems = [], []
        for _ in range(kills):
            if self.run(lot.uniform(0.1, 1.0) * self.takes_s) != -signal.SIGKILL:
                break
            stages.append(self._stage())
            if self.shelf.seen() not in self._views:
                problems.append("a reader saw neither the old nor the new results")
        if (code := self.run(None)) != 0:
            problems.append(f"run again it ended with {code}: {self._log.read_text()[-500:]}")
        return stages, problems + differences(self.shelf.outcome(), self._expected)

    def _stage(self) -> str:
        done = self.shelf.objects()
        before = "none" if f"workspace/runs/{RUN}/run.json" not in done else ""
        ended = (stage for stage in STAGES if f"workspace/runs/{RUN}/{stage}/summary.json" not in done)
        return before or next(ended, "the end")


def main(arguments: Sequence[str]) -> int:
    """Kill, print what was killed where, and return 1 if a promise was broken."""
    assert __doc__
    parser = argparse.ArgumentParser("faults kills", description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=300, help="kills in all")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    lot, began, stages, broken, recoveries = random.Random(options.seed), time.monotonic(), Counter[str](), 0, 0
    with scratch() as folder, serving(folder / "server") as server:
        victim = Victim(Shelf(server, server.endpoint, folder), folder / "log")
        print(f"seed {options.seed}; undisturbed the recovery takes {victim.takes_s:.1f} s", flush=True)
        while stages.total() < options.rounds:
            found, problems = victim.recovery(lot, min(lot.randint(1, MOST), options.rounds - stages.total()))
            stages.update(found)
            recoveries, broken = recoveries + 1, broken + bool(problems)
            for problem in problems:
                print(f"BROKEN recovery {recoveries}, killed in {', '.join(found)}: {problem}", flush=True)
    told = ", ".join(f"{stages[stage]} in {stage}" for stage in ("none", *STAGES, "the end") if stages[stage])
    minutes = (time.monotonic() - began) / 60
    print(f"{stages.total()} kills of {recoveries} recoveries ({told}), {broken} broken; {minutes:.1f} minutes")
    return int(broken > 0)

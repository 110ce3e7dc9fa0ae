"""Every store request of every stage, broken in every way: after a rerun nothing is lost, doubled or torn.

    python tests/faults requests                      # everything
    python tests/faults requests --sample 150 --seed 5
    python tests/faults requests --alone              # one fault a run also where the command itself asks again

A corpus of three videos goes through all stages undisturbed, and its requests are counted. Then, from the state before
each stage, the stage runs again in a child process, and its request n meets a fault: the child is killed (SIGKILL)
exactly before the server has the request or after it has carried it out; the request or the answer is lost; the answer
is 500 (though carried out), 503 (not carried out), or none comes in time. A reader of snapshots must see the state
before the stage or the one after it. The same command runs again where it did not end as it should, and bucket and
database must be those of the undisturbed run, byte by byte but for clocks. A stage that gives the same state goes on
in the same way: the rest of the recovery follows for the first kill of each stage.

Each kill, and each fault of a write, has a run of its own. The faults of reads after which a command asks again are met
in one run, in which the first try of every request fails; with --alone they have a run each, too.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, zip_longest
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from faults import lane as lanes
from faults.shelf import scratch
from faults.trial import FAULTS, READS, STAGES, Case, Result, Trial


def spread(cases: Iterable[Case], seed: int) -> list[Case]:
    """Return the cases in an order in which all stages and faults take turns."""
    groups: dict[tuple[int, str], list[Case]] = defaultdict(list)
    for case in cases:
        groups[case.stage, case.fault].append(case)
    lot = random.Random(seed)
    for group in groups.values():
        lot.shuffle(group)
    mixed = sorted(groups.values(), key=lambda group: lot.random())
    return [case for case in chain.from_iterable(zip_longest(*mixed)) if case is not None]


def work(number: int, folder: Path, options: argparse.Namespace, turn: Any, results: Connection) -> None:
    """Carry out cases as long as there are some, and somebody to tell; lanes take turns by a shared counter."""
    parent = os.getppid()
    with lanes.opened(folder / str(number)) as lane:
        lane.warm_up(STAGES)
        trial = Trial(lane)
        trial.measure()
        cases = spread(trial.cases(options.alone, options.stage), options.seed)[: options.sample or None]
        results.send([(stage.command, [request.method for request in stage.requests]) for stage in trial.stages])
        while os.getppid() == parent:
            with turn:
                at, turn.value = turn.value, turn.value + 1
            if at >= len(cases):
                break
            results.send(trial.carry_out(cases[at]))
        results.send(lane.cpu_s)


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the options of the command."""
    assert __doc__
    parser = argparse.ArgumentParser("faults requests", description=__doc__.partition("\n")[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--sample", type=int, default=0, help="this many cases, spread over stages and faults; 0: all")
    parser.add_argument("--stage", choices=STAGES, help="only the requests of this one")
    parser.add_argument("--alone", action="store_true", help="one fault a run, also for reads that are tried again")
    parser.add_argument("--lanes", type=int, default=2, help="cases at once")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    """Run the lanes, print the figures, and return 1 if a promise was broken."""
    options = parsed(arguments)
    began, turn = time.monotonic(), multiprocessing.get_context("fork").Value("i", 0)
    print(f"seed {options.seed}, {options.lanes} lanes", flush=True)
    with scratch() as folder:
        lanes_ = [start(number, folder, options, turn) for number in range(options.lanes)]
        heard = list(hear([connection for _, connection in lanes_]))
        for process, _ in lanes_:
            process.join()
    whole = all(process.exitcode == 0 for process, _ in lanes_)
    return report(heard, time.monotonic() - began) if whole else 1


def start(number: int, folder: Path, options: argparse.Namespace, turn: Any) -> tuple[Any, Connection]:
    """Start a lane; return its process and the connection that it sends its results by."""
    context = multiprocessing.get_context("fork")
    mine, its = context.Pipe(duplex=False)
    process = context.Process(target=work, args=(number, folder, options, turn, its))
    process.start()
    its.close()
    return process, mine


def hear(connections: list[Connection]) -> Iterator[Any]:
    """Yield what the lanes send until all have ended; print broken promises at once, and now and then a count."""
    count = 0
    while connections:
        for connection in wait(connections):
            try:
                found = connection.recv()
            except EOFError:
                connections.remove(connection)
                continue
            yield found
            if isinstance(found, Result):
                count += 1
                for problem in found.problems:
                    print(f"BROKEN {found.name}: {problem}", flush=True)
                if count % 100 == 0:
                    print(f"{count} cases", file=sys.stderr, flush=True)


def report(heard: Sequence[Any], seconds: float) -> int:
    """Print the figures of all lanes; return the exit code."""
    results = [each for each in heard if isinstance(each, Result)]
    stages = next(each for each in heard if isinstance(each, list))
    print(f"{'stage':20} {'requests':>8} {'writes':>7} {'cases':>6} {'covered':>8} {'rerun':>6} {'broken':>7}")
    for at, (command, methods) in enumerate(stages):
        mine = [result for result in results if result.case.stage == at]
        row = line(mine)
        print(f"{command:20} {len(methods):>8} {sum(m not in READS for m in methods):>7} {row}")
    total = sum(len(methods) for _, methods in stages)
    writes = sum(method not in READS for _, methods in stages for method in methods)
    print(f"{'all':20} {total:>8} {writes:>7} {line(results)}")
    used = sum(each for each in heard if isinstance(each, float))
    print(f"{total * len(FAULTS)} pairs of a request and a fault; {seconds / 60:.1f} minutes, {used:.0f} s of CPU")
    return int(any(result.problems for result in results))


def line(results: Sequence[Result]) -> str:
    """Return the counts of some results as a line of the table."""
    covered, reran = sum(r.case.covers for r in results), sum(r.reran for r in results)
    return f"{len(results):>6} {covered:>8} {reran:>6} {sum(bool(r.problems) for r in results):>7}"

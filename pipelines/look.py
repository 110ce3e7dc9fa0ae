"""Show what a run has done, is doing and refused, and what is known of one video; write no more than a work list.

    resplice status --run-id recovery-a --follow
    resplice failed --run-id recovery-a --stage repair --out again.txt
    resplice inspect some_video --run-id recovery-a

Reads   run.json, summaries, refusals, the ledgers of stages that have not ended, coverage.json;
        inspect: see inspecting.
Writes  nothing (failed: the file of --out).
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from resplice.io import runstate
from resplice.io.context import Context
from resplice.io.local import LocalStore
from resplice.io.processes import KILLED, OpenProcess, Processes
from resplice.io.refusals import Refused
from resplice.pipelines import follow, inspecting, launch
from resplice.pipelines.args import OF_VIDEOS, STAGES, Failed, Inspect, Status
from resplice.pipelines.config import Resolved
from resplice.pipelines.show import cell, table
from resplice.transforms import provenance
from resplice.transforms.records import Exit, UserError, valid_video_id

_EXAMPLES = 3
_PROCESSES = 5


def run(args: Any, resolved: Resolved, beam_argv: Sequence[str]) -> int:
    """Run the command: status, failed, or inspect."""
    context = launch.context(args, resolved)
    if isinstance(args, Status):
        return status(context, args)
    if isinstance(args, Inspect):
        return inspecting.show(context, args.video)
    assert isinstance(args, Failed)
    return failed(context, args)


def status(context: Context, args: Status) -> int:
    """Print the stages and processes of a run; with --follow, show first how far they come until they have ended."""
    if args.json and args.follow:
        raise UserError("--json prints one document, --follow goes on: leave out one of them")
    if args.follow:
        follow.follow(context)
    facts, open_ = run_facts(context), Processes(context).look()
    if args.json:
        facts["open"] = [process.to_json() for process in open_]
        sys.stdout.write(provenance.document(facts).decode())
    else:
        _show_status(facts, open_)
    return Exit.DONE


def run_facts(context: Context) -> dict[str, Any]:
    """Return the facts of `status`: run_id, stages {name: units}, processes, coverage."""
    processes = runstate.record(context)["processes"]
    found = (runstate.stage_state(context, stage) for stage in STAGES)
    return {
        "run_id": context.run.id,
        "stages": {state.stage: state.to_json() for state in found if state},
        "processes": processes,
        "coverage": runstate.coverage(context),
    }


def _show_status(facts: dict[str, Any], open_: Sequence[OpenProcess]) -> None:
    columns = ("stage", "state", "unit", "in", "done", "skipped", "refused", "by reason")
    rows = [
        (stage, *(units[name] for name in columns[1:-1]), _counts(units["by_reason"]))
        for stage, units in facts["stages"].items()
    ]
    print(f"run {cell(facts['run_id'])}")
    table(columns, rows or [("none has begun", *[None] * (len(columns) - 1))])
    processes = facts["processes"]
    states = {process.seq: process.state for process in open_}
    shown = [
        [*(p[name] for name in ("seq", "command", "start", "end")), states.get(p["seq"], p["exit"])]
        for p in processes[-_PROCESSES:]
    ]
    table(("process", "command", "start", "end", "exit"), shown)
    if len(processes) > _PROCESSES:
        print(f"{len(processes) - _PROCESSES} earlier processes are not shown (--json has all)")
    for process in open_:
        if process.state != KILLED or process.seq == len(processes):
            print(follow.told(process))
    if coverage := facts["coverage"]:
        verdict = "complete" if coverage["complete"] else "not complete"
        print(f"coverage {verdict}: {coverage['rows']} rows, {_counts(coverage['buckets'])}")


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def failed(context: Context, args: Failed) -> int:
    """Print the refusals of a run by stage and reason, and write the work list."""
    runstate.record(context)
    lines = [
        line
        for stage in ([args.stage] if args.stage else STAGES)
        for line in runstate.refused(context, stage)
        if not args.reason or line.reason in args.reason
    ]
    groups = grouped(lines)
    if args.json:
        sys.stdout.write(provenance.document({"run_id": context.run.id, "groups": groups}).decode())
    else:
        _show_failed(context.run.id, groups)
    if args.out:
        _write_list(args.out, lines)
    return Exit.DONE


def grouped(lines: Sequence[Refused]) -> list[dict[str, Any]]:
    """Return refusals grouped by stage and reason, in the order of the stages: the count and up to three examples."""
    groups: dict[tuple[str, str], list[Refused]] = defaultdict(list)
    for line in lines:
        groups[line.stage, line.reason].append(line)
    order = sorted(groups, key=lambda key: (STAGES.index(key[0]), key[1]))
    return [
        {
            "stage": stage,
            "reason": reason,
            "units": len({line.unit for line in groups[stage, reason]}),
            "examples": [asdict(line) for line in groups[stage, reason][:_EXAMPLES]],
        }
        for stage, reason in order
    ]


def _show_failed(run_id: str, groups: list[dict[str, Any]]) -> None:
    if not groups:
        print(f"run {cell(run_id)}: no refusals")
        return
    rows = [
        (group["stage"], group["reason"], group["units"], "\n".join(map(_example, group["examples"])))
        for group in groups
    ]
    table(("stage", "reason", "units", "examples"), rows)


def _example(line: dict[str, Any]) -> str:
    return f"{line['unit']}: {line['detail']}".replace("\n", "\\n")


def _write_list(path: str, lines: Sequence[Refused]) -> None:
    """Write the ids of the refused units; a video that could not name files can be no work for `--videos`."""
    units = {(line.unit, line.stage in OF_VIDEOS) for line in lines}
    ids = sorted({_on_a_line(unit) for unit, video in units if not video or valid_video_id(unit)})
    file = Path(path).absolute()
    LocalStore(str(file.parent)).replace(file.name, "".join(f"{id_}\n" for id_ in ids).encode(), None)
    bad = sum(video and not valid_video_id(unit) for unit, video in units)
    left = f" ({bad} that are no valid video_id left out)" if bad else ""
    print(f"{len(ids)} ids written to {path}{left}", file=sys.stderr)


def _on_a_line(unit: str) -> str:
    return unit.replace("\r", "\\r").replace("\n", "\\n")

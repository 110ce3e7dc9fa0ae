"""`run.json`: which processes worked on a run, with which arguments and versions, and how they ended."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from resplice.io import documents, sidecars
from resplice.io.context import Context
from resplice.io.store import Store, content
from resplice.transforms import provenance


def begin(context: Context) -> Context:
    """Record the start of this process; return the context with its number within the run."""
    run = context.run
    number = 0

    def add(record: dict[str, Any]) -> None:
        nonlocal number
        me = {"command": run.command, "start": run.started_at, "host": platform.node(), "pid": os.getpid()}
        mine = [process["seq"] for process in record["processes"] if me.items() <= process.items()]
        number = mine[0] if mine else len(record["processes"]) + 1  # a try whose answer was lost has added it
        if not mine:
            record["processes"].append(
                {**me, "seq": number, "argv": list(run.argv), "end": None, "exit": None, "counts": {}, "seconds": {},
                 "at_work": None}
            )  # fmt: skip

    _update(context, add)
    return replace(context, run=replace(run, seq=number))


def note(context: Context, **facts: Any) -> None:
    """Record something about this process: what it is working on, the seconds that its stages took."""

    def change(record: dict[str, Any]) -> None:
        next(p for p in record["processes"] if p["seq"] == context.run.seq).update(facts)

    _update(context, change)


def end(context: Context, exit_code: int, **facts: Any) -> None:
    """Record the end of this process."""
    note(context, end=provenance.now(), exit=exit_code, at_work=None, **facts)


def load(store: Store, run_id: str) -> dict[str, Any] | None:
    """Return the record of a run, None if there is none."""
    try:
        return documents.load(store, f"runs/{run_id}/run.json")  # type: ignore[no-any-return]
    except FileNotFoundError:
        return None


def _update(context: Context, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the record by compare-and-set: two processes of one run lose nothing."""
    store, key = context.workspace.store, f"runs/{context.run.id}/run.json"
    while True:
        data, token = content(store, key)
        record = documents.of(store, key, data) if token else {"run_id": context.run.id, "processes": []}
        change(record)
        record["arguments"] = dict(sorted(context.run.args))
        record["versions"] = {"resplice": provenance.VERSION, **sidecars.environment()["packages"]}
        if store.replace(key, provenance.document(record), token):
            return

"""`run.json`: which processes worked on a run, with which arguments and versions, and how they ended."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from resplice.io import conditional, documents, sidecars
from resplice.io.context import Context
from resplice.io.store import Store
from resplice.transforms import provenance


def begin(context: Context) -> Context:
    """Record the start of this process; return the context with its number within the run."""
    run = context.run
    this: dict[str, Any] = {
        "seq": 0, "command": run.command, "argv": list(run.argv), "start": run.started_at, "end": None, "exit": None,
        "counts": {}, "seconds": {}, "host": platform.node(), "pid": os.getpid(), "at_work": None,
    }  # fmt: skip

    def add(record: dict[str, Any]) -> None:
        if this not in record["processes"]:  # there already by a write whose answer was lost
            this["seq"] = len(record["processes"]) + 1
            record["processes"].append(this)

    _update(context, add)
    return replace(context, run=replace(run, seq=this["seq"]))


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

    def changed(data: bytes) -> bytes:
        empty: dict[str, Any] = {"run_id": context.run.id, "processes": []}
        record = documents.of(store, key, data) if data else empty
        change(record)
        record["arguments"] = dict(sorted(context.run.args))
        record["versions"] = {"resplice": provenance.VERSION, **sidecars.environment()["packages"]}
        return provenance.document(record)

    conditional.update(store, key, changed)

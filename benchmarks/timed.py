"""Run resplice commands in this process, one after the other, with every import done before the clock starts.

    python benchmarks/timed.py '[["plan", "--config", …], ["verify", …]]'

Prints one line of JSON at the end: the seconds of each command, and of all of them the largest resident size, the
seconds of CPU, those of the `driver` (outside of pipelines: no worker shares them), and the bytes read and written.
"""

import contextlib
import importlib
import json
import logging
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from resplice.pipelines.__main__ import main

JOBS = (
    "baseline",
    "cli",
    "documents",
    "exchange",
    "merge",
    "options",
    "plan",
    "progress",
    "repair",
    "validate",
    "verify",
)
LATER = ("apache_beam.runners.portability.fn_api_runner", "pyarrow.compute", "pyarrow.parquet",
         *(f"resplice.pipelines.{job}" for job in JOBS))  # fmt: skip
"""What the commands import where they need it."""


def peak() -> int:
    """Return the largest resident size of this process so far, in bytes (getrusage would tell that of its parent)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def used() -> dict[str, float]:
    """Return the seconds of CPU that this process and its children took, and the bytes it read and wrote."""
    counts = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return {"cpu": sum(os.times()[:4]), "read": int(counts["rchar"]), "written": int(counts["wchar"])}


def watched(pipeline: Any, spent: list[float]) -> Any:
    """Return the pipelines of a session such that the CPU that is used while they run is added to what was spent."""

    @contextlib.contextmanager
    def watched_(session: Any) -> Iterator[Any]:
        with pipeline(session) as made:
            before = used()["cpu"]
            yield made
        spent[0] += used()["cpu"] - before

    return watched_


if __name__ == "__main__":
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")  # as the command does before it imports pyarrow
    logging.disable(logging.WARNING)  # of Beam, about its optional parts
    for module in LATER:
        importlib.import_module(module)
    seconds, spent, before = [], [0.0], used()
    session = importlib.import_module("resplice.pipelines.launch").Session
    session.pipeline = watched(session.pipeline, spent)
    for argv in json.loads(sys.argv[1]):
        began = time.perf_counter()
        if code := main(argv):
            sys.exit(f"{argv[0]} ended with {code}")
        seconds.append(time.perf_counter() - began)
    took = {name: n - before[name] for name, n in used().items()}
    print(json.dumps({"seconds": seconds, "peak": peak(), "driver": took["cpu"] - spent[0], **took}))

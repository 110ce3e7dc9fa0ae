"""Run resplice commands in this process, one after the other, with every import done before the clock starts.

    python benchmarks/timed.py '[["plan", "--config", …], ["verify", …]]'

Prints one line of JSON at the end: the seconds of each command, and the largest resident size in bytes.
"""

import importlib
import json
import logging
import os
import sys
import time
from pathlib import Path

from resplice.pipelines.__main__ import main

JOBS = ("baseline", "cli", "exchange", "merge", "options", "plan", "progress", "repair", "validate", "verify")
LATER = ("apache_beam.runners.portability.fn_api_runner", "pyarrow.compute", "pyarrow.parquet",
         *(f"resplice.pipelines.{job}" for job in JOBS))  # fmt: skip
"""What the commands import where they need it."""


def peak() -> int:
    """Return the largest resident size of this process so far, in bytes (getrusage would tell that of its parent)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


if __name__ == "__main__":
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")  # as the command does before it imports pyarrow
    logging.disable(logging.WARNING)  # of Beam, about its optional parts
    for module in LATER:
        importlib.import_module(module)
    seconds = []
    for argv in json.loads(sys.argv[1]):
        began = time.perf_counter()
        if code := main(argv):
            sys.exit(f"{argv[0]} ended with {code}")
        seconds.append(time.perf_counter() - began)
    print(json.dumps({"seconds": seconds, "peak": peak()}))

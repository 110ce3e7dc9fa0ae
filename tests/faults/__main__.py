"""Faults on purpose; `python tests/faults NAME --help` tells what each of them breaks, and how.

    python tests/faults requests             # every request of every stage, in every way
    python tests/faults kills --rounds 300   # the real command, killed at random moments
    python tests/faults objects              # 2,000 objects through a store of which every fifth request fails

Each prints its seed and its figures; exit code 1: a promise was broken.
"""

import importlib
import os
import sys
from pathlib import Path

NAMES = ("requests", "kills", "objects")
SAME = {"PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1", "ARROW_DEFAULT_MEMORY_POOL": "system"}
"""So that a run makes the same requests in the same order each time, and a process can be forked."""

if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in NAMES:
        sys.exit(f"{__doc__}\nname one of: {', '.join(NAMES)}")
    if not SAME.items() <= os.environ.items():
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **SAME})
    sys.path[0] = str(Path(__file__).parents[1])
    sys.exit(importlib.import_module(f"faults.{sys.argv[1]}").main(sys.argv[2:]))

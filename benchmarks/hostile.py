"""Hostile tars, audio, parquet and JSON files: what refusing each of them takes.

    python benchmarks/hostile.py [--kind tar]

Each case of the tests' table (tests/hostile.py) is read as the product reads such files, in a fresh child of a process
that has imported what it needs and done nothing else: that is the idle worker. Prints the code of the refusal, the
seconds of CPU (of all threads; others on the machine do not count) and by the clock, and how far the largest resident
size went above the idle one. Exit 1 if a code is another one than the table's, or a case takes a second of CPU or more,
or more than 64 MiB.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from hostile import CASES, Case

SECONDS, MIB = 1.0, 64


def resident(field: str) -> float:
    """Return a size of this process from /proc/self/status, in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field + ":"))


def measured(case: Case) -> tuple[str, float, float, float]:
    """Refuse one case in a child; return the code, the seconds of CPU and by the clock, and the MiB above idle."""
    with tempfile.TemporaryDirectory() as name:
        writer = os.fork()
        if not writer:  # what making the file takes is not to stay in this process
            case.write(Path(name))
            os._exit(0)
        os.waitpid(writer, 0)
        reader, end = os.pipe()
        child = os.fork()
        if not child:
            _child(case, Path(name), end)
        os.close(end)
        with os.fdopen(reader, "rb") as pipe:
            said = pipe.read()
        _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return signal.Signals(os.WTERMSIG(status)).name, 0.0, 0.0, 0.0
    code, cpu, clock, size = json.loads(said)
    return code, cpu, clock, size


def _child(case: Case, folder: Path, pipe: int) -> None:
    Path("/proc/self/clear_refs").write_text("5")  # the largest size so far is the present one
    idle, began, cpu = resident("VmRSS"), time.perf_counter(), time.process_time()
    try:
        code = case.code_found(folder)
    except BaseException as error:
        code = type(error).__name__
    seconds = time.process_time() - cpu, time.perf_counter() - began
    os.write(pipe, json.dumps([code, *seconds, resident("VmHWM") - idle]).encode())
    os._exit(0)


def main() -> None:
    """Measure all cases, print a table, end with 1 if one is beyond the limits."""
    parser = argparse.ArgumentParser(description="Measure the refusal of hostile files.")
    parser.add_argument("--kind", choices=sorted({case.kind for case in CASES}))
    kind = parser.parse_args().kind
    cases = [case for case in CASES if kind in (None, case.kind)]
    beyond, most_s, most_mib = 0, 0.0, 0.0
    for case in cases:
        code, seconds, clock, size = measured(case)
        fine = code == case.code and seconds < SECONDS and size <= MIB
        beyond += not fine
        most_s, most_mib = max(most_s, seconds), max(most_mib, size)
        mark = "" if fine else f"  <- NOT {case.code}, < {SECONDS:g} s, <= {MIB} MiB"
        print(f"{case.kind:8} {case.name:50} {code:18} {seconds * 1000:7.1f} ms {clock * 1000:7.1f} ms"
              f" {size:6.1f} MiB{mark}")  # fmt: skip
    most = f"{most_s:.2f} s of CPU and {most_mib:.0f} MiB above idle"
    print(f"{len(cases)} cases: at most {most}; {beyond} beyond the limits")
    sys.exit(bool(beyond))


if __name__ == "__main__":
    main()

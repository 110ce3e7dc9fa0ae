"""What evidence costs: the recovery of a demo corpus with its sidecars and without, and a folder of many files hashed.

    python benchmarks/provenance.py [--size 1000] [--repeat 2] [--files 100000]

Both sides recover the same corpus in workspaces of their own, each as a new process, in alternating order; the seconds
are those of the whole command behind its imports. The side without makes no digest, asks for no version, and instead of
each sidecar puts a file with the names of inputs and outputs alone, unsynced, as later stages want to see that one is
there. As two runs on a busy machine differ by more than the sidecars cost, the seconds inside their module are also
added up over all threads; that share is held against the target.

The folder is hashed twice with a memory of its digests between, each time anew in a process; nothing of the page cache
is dropped. Exit 1 if the target is missed.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

MOST = 0.02
_TIMED = ("described", "content", "write")


def timed(spent: list[float]) -> None:
    """Add up the seconds inside the calls of the module of sidecars, outermost ones only."""
    sidecars, inside = importlib.import_module("resplice.io.sidecars"), threading.local()

    def wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*args: Any, **more: Any) -> Any:
            if getattr(inside, "on", False):
                return function(*args, **more)
            inside.on, began = True, time.perf_counter()
            try:
                return function(*args, **more)
            finally:
                inside.on = False
                spent[0] += time.perf_counter() - began

        return call

    for name in _TIMED:
        setattr(sidecars, name, wrapped(getattr(sidecars, name)))


def without() -> None:
    """Put little more than names in the place of each sidecar."""
    sidecars = importlib.import_module("resplice.io.sidecars")

    def content(context: Any, kind: str, *, inputs: Any, outputs: Any, stats: Any, **more: Any) -> dict[str, Any]:
        return {"stats": dict(stats), "run_provenance": {"inputs": dict(inputs), "outputs": dict(outputs)}}

    def write(store: Any, artifact: str, sidecar: Any) -> None:
        Path(store.url, artifact + sidecars.SUFFIX).write_text(json.dumps(sidecar, default=str))

    def described(place: Any, key: str, sha256: str | None = None) -> dict[str, Any]:
        return sidecars.known(place, key, sha256 or "", 0)  # type: ignore[no-any-return]

    for function in (content, write, described):
        setattr(sidecars, function.__name__, function)


def recover(config: str, workspace: str, side: str) -> None:
    """Recover a corpus in this process, and print the seconds it took and those inside the sidecars."""
    logging.disable(logging.WARNING)
    main = importlib.import_module("resplice.pipelines.__main__").main
    importlib.import_module("resplice.pipelines.recover")
    importlib.import_module("apache_beam")
    spent = [0.0]
    without() if side == "without" else timed(spent)
    words = ["recover", "--config", config, "--set", f"corpus.workspace={workspace}", "--run-id", "r", "--yes"]
    began = time.perf_counter()
    if code := main([*words, "--quiet"]):
        sys.exit(f"recover ended with {code}")
    print(json.dumps({"seconds": time.perf_counter() - began, "inside": spent[0]}), file=sys.stderr)


def child(*words: str) -> dict[str, float]:
    """Run a part of this benchmark in a new process."""
    done = subprocess.run(
        [sys.executable, __file__, *words], text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stderr.splitlines()[-1])  # type: ignore[no-any-return]


def sides(folder: Path, size: int, repeat: int) -> float:
    """Recover with and without, print both and the share of the sidecars; return that."""
    subprocess.run([sys.executable, "-m", "resplice.pipelines", "demo", str(folder / "demo"), "--size", str(size),
                    "--quiet"], check=True, stdout=subprocess.DEVNULL)  # fmt: skip
    took: dict[str, list[dict[str, float]]] = {"with": [], "without": []}
    for turn in range(repeat):
        for side in ("with", "without") if turn % 2 == 0 else ("without", "with"):
            workspace = str(folder / f"{side}-{turn}")
            took[side].append(child("--recover", str(folder / "demo/resplice.toml"), workspace, side))
    medians = {side: statistics.median(one["seconds"] for one in took[side]) for side in took}
    share = statistics.median(one["inside"] / one["seconds"] for one in took["with"])
    written = sum(1 for _ in (folder / "with-0").rglob("*.manifest.json"))
    print(f"recovery of {size} videos, {written} sidecars: {medians['with']:.1f} s with, {medians['without']:.1f} s "
          f"without, ratio {medians['with'] / medians['without']:.3f}")  # fmt: skip
    print(f"inside the sidecars: {share:.2%} of the run (target: under {MOST:.0%})")
    return share


def hash_once(folder: str) -> None:
    """Describe a folder with the memory beside it, and print the seconds, and how many files were read."""
    remembered = importlib.import_module("resplice.io.remembered")
    trees, store = importlib.import_module("resplice.io.trees"), importlib.import_module("resplice.io.store")
    began = time.perf_counter()
    memory = remembered.Memory(store.Place(f"{folder}-work"), folder)
    trees.described_folder(Path(folder), memory)
    memory.keep()
    print(json.dumps({"seconds": time.perf_counter() - began, "hashed": memory.hashed}), file=sys.stderr)


def tree(folder: Path, files: int) -> None:
    """Hash a folder of many small files twice."""
    for number in range(files):
        path = folder / f"{number % 100:02d}" / f"{number}.txt"
        if number < 100:
            path.parent.mkdir(parents=True)
        path.write_bytes(b"%d" % number * 100)
    time.sleep(3)  # what changed in the last seconds is not remembered
    for turn in ("first", "second"):
        found = child("--hash", str(folder))
        print(f"a folder of {files} files, the {turn} time: {found['seconds']:.2f} s, {found['hashed']:.0f} read")


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=1000)
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--recover", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--hash", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.recover:
        recover(*args.recover)
        return 0
    if args.hash:
        hash_once(args.hash)
        return 0
    with tempfile.TemporaryDirectory(prefix="resplice-benchmark-") as folder:
        if args.files:
            tree(Path(folder, "tree"), args.files)
        return int(args.size and sides(Path(folder), args.size, args.repeat) > MOST)


if __name__ == "__main__":
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")  # as the command does before it imports pyarrow
    sys.exit(main())

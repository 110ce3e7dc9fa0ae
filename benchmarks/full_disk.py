"""A recovery on a disk that is full, at many sizes: it must stop cleanly, and go on when there is room.

    python benchmarks/full_disk.py [--sizes 20]

The workspace, and then the folder for temporary files alone, is a file system in memory of the given size (mounted in a
mount namespace of its own: root, or unprivileged user namespaces). Sizes of the workspace are spread over what each
stage of a recovery of the small demo adds, those of the other folder up to what its largest video takes. At each of
them `recover` must end with 75 and one line, leave no temporary file, no half file, no artifact that is not what its
sidecar tells and no snapshot before merge, nor one that names what is not there; with room it must end as if nothing
had happened, with the same bytes. Prints the stage that each size hit. Exit 1 if a promise is broken.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import pyarrow.parquet as pq
from recovering import RUN, STAGES, Corpus, demo, lies, outcome, stage_of, temporaries

from resplice.io import tars
from resplice.io.local import LocalStore
from resplice.transforms.records import Damage

PAGE = 4096
ROOM = 256 << 20
"""Bytes that are more than enough."""
PLACES = ("workspace", "temporary files")


@dataclass(frozen=True)
class Stopped:
    """What a recovery on a full disk left, and what became of it with room: `broken` names the promises not kept."""

    size: int
    stage: str
    code: int
    said: str
    broken: tuple[str, ...]


def namespace(command: Sequence[str]) -> list[str]:
    """Return a command that runs another one in a mount namespace of its own, in which it may mount."""
    users = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    return ["unshare", *users, "--mount", *command]


def why_not() -> str:
    """Return why no small file system can be mounted here, "" if one can."""
    if shutil.which("unshare") is None:
        return "there is no command unshare"
    with tempfile.TemporaryDirectory() as folder:
        mount = namespace(["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", folder])
        return subprocess.run(mount, capture_output=True, text=True).stderr.strip()


def reference(corpus: Corpus, folder: Path) -> tuple[dict[str, Any], list[int], list[int]]:
    """Recover with room, by the command and in the workspace of `stopped` (sidecars name both, and a letter more may
    be a page more); return the outcome, the bytes of the workspace before and after each stage, and from nothing to
    what the largest video takes of temporary files.
    """
    workspace = folder / "workspace"
    with contextlib.redirect_stdout(io.StringIO()):
        code = corpus.finish(workspace)
    if code:
        raise SystemExit(f"a recovery with room ended with {code}")
    largest = max(path.stat().st_size for path in workspace.glob(f"runs/{RUN}/repair/transcribed/*.tar"))
    return outcome(workspace), _taken(workspace), [0, 2 * largest]


def _taken(workspace: Path) -> list[int]:
    """Return what a workspace took before and after each stage, in pages of memory; a hard link takes nothing."""
    files = [path for path in workspace.rglob("*") if path.is_file()]
    first: dict[int, tuple[int, int]] = {}
    for path in sorted(files, key=lambda path: _step(path.relative_to(workspace).parts)):
        stat = path.stat()
        first.setdefault(stat.st_ino, (_step(path.relative_to(workspace).parts), -(-stat.st_size // PAGE) * PAGE))
    return [sum(size for step, size in first.values() if step < end) for end in range(len(STAGES) + 1)]


def _step(parts: Sequence[str]) -> int:
    """Return the stage that writes a file of the workspace, as its place among the stages."""
    if parts[0] == "runs":
        return STAGES.index(parts[2]) if parts[2] in STAGES else len(STAGES)
    return STAGES.index("merge")


def stopped(corpus: Corpus, folder: Path, place: str, size: int) -> tuple[Stopped, dict[str, Any]]:
    """Recover with `size` bytes for a place, then with room, in a process that may mount; return what happened."""
    command = [sys.executable, __file__, "--inside", str(corpus.root), str(folder), place, str(size)]
    done = subprocess.run(namespace(command), capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{place}, {size} bytes:\n{done.stderr}")
    found = json.loads(done.stdout.splitlines()[-1])
    return Stopped(**{**found["stopped"], "broken": tuple(found["stopped"]["broken"])}), found["outcome"]


def inside(root: str, folder: str, place: str, size: str) -> dict[str, Any]:
    """Do what `stopped` says, in the namespace."""
    small, workspace = Path(folder, "small"), Path(folder, "workspace")
    shutil.rmtree(workspace, ignore_errors=True)
    for path in (small, workspace):
        path.mkdir(parents=True, exist_ok=True)
    target = workspace if place == "workspace" else small
    if place != "workspace":
        os.environ["TMPDIR"] = str(small)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(target)], check=True)
    corpus = Corpus(Path(root))
    command = [sys.executable, "-m", "resplice.pipelines", *corpus.arguments(workspace)]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    stage = (stage_of(workspace) or "report") if (workspace / "runs" / RUN / "run.json").exists() else "start"
    broken = _broken(workspace, str(target), done.returncode, done.stderr, stage)
    if place != "workspace" and (left := sorted(path.name for path in small.iterdir())):
        broken.append(f"temporary files are left: {left}")
    subprocess.run(["mount", "-o", f"remount,size={ROOM}", str(target)], check=True)
    if code := corpus.finish(workspace):
        broken.append(f"with room it ended with {code}")
    record = Stopped(int(size), stage, done.returncode, done.stderr, tuple(broken))
    return {"stopped": vars(record), "outcome": outcome(workspace)}


def _broken(workspace: Path, folder: str, code: int, said: str, stage: str) -> list[str]:
    """Return the promises that a recovery which had to stop has not kept."""
    found = [
        f"artifact is not what its sidecar tells: {lie}" for lie in lies(workspace) if not lie.endswith(UNFINISHED)
    ]
    found += [f"temporary file {path} is left" for path in temporaries(workspace)]
    found += [f"half a file: {path}" for path in sorted(workspace.rglob("*")) if path.is_file() and not _whole(path)]
    found += [
        f"a snapshot names {key}, which is not there" for key in _named(workspace) if not (workspace / key).is_file()
    ]
    if code != 75:
        found.append(f"exit {code}")
    if len(said.splitlines()) != 1 or "out of disk space" not in said or folder not in said:
        found.append("not just one line about disk space, with the place")
    if stage not in ("merge", "verify", "report") and list(workspace.glob("snapshots/*.json")):
        found.append("a snapshot is published")
    return found


UNFINISHED = (".tar", ".parquet", ".json")
"""An artifact without its sidecar is none yet; it is whole all the same."""


def _whole(path: Path) -> bool:
    """Return whether a file can be read to its end, by what its name says that it is."""
    try:
        if path.suffix in (".json", ".jsonl"):
            data = path.read_bytes()
            for document in data.splitlines() if path.suffix == ".jsonl" else [data]:
                json.loads(document)
            return data.endswith(b"\n") or not data
        if path.suffix == ".parquet":
            pq.read_table(path)
        if path.suffix == ".tar":
            tars.read_members(LocalStore(str(path.parent)).open(path.name))
    except (ValueError, OSError, Damage):
        return False
    return True


def _named(workspace: Path) -> list[str]:
    """Return the keys of the objects that snapshots name."""
    found = []
    for path in workspace.glob("snapshots/????????.json"):
        state = json.loads(path.read_text())
        tars_ = [entry["tar"] for entry in state["videos"].values() if entry["tar"]]
        found += [entry["key"] for entry in (*state["shards"], *tars_)]
    return found


def main() -> None:
    """Measure both places, print a table, end with 1 if a promise is broken."""
    parser = argparse.ArgumentParser(description="Recover on a full disk.")
    parser.add_argument("--sizes", type=int, default=20)
    count = parser.parse_args().sizes
    if reason := why_not():
        raise SystemExit(f"no small file system can be mounted here: {reason}")
    broken = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with contextlib.redirect_stdout(io.StringIO()):
            corpus = demo(folder / "corpus")
        expected, taken, spooled = reference(corpus, folder)
        print(f"a recovery with room takes {taken[-1] >> 10} KiB of workspace")
        for place in PLACES:
            stages: Counter[str] = Counter()
            for size in sizes(taken if place == "workspace" else spooled, count):
                result, found = stopped(corpus, folder, place, size)
                same = "the same bytes" if found == expected else "OTHER bytes"
                print(f"{place:16} {size >> 10:>6} KiB  {result.stage:9} exit {result.code}  then {same}"
                      f"  {'; '.join(result.broken)}")  # fmt: skip
                if result.broken:
                    print(result.said)
                stages[result.stage] += 1
                broken += bool(result.broken) or found != expected
            print(f"{place}: " + ", ".join(f"{stage} {number}" for stage, number in stages.items()))
    print(f"{broken} sizes with a broken promise")
    sys.exit(bool(broken))


def sizes(taken: Sequence[int], count: int) -> list[int]:
    """Return at least `count` sizes to try, in bytes: as many in each step, from what was there before it began."""
    each = -(-count // (len(taken) - 1))
    spread = [before + (after - before) * n // each for before, after in pairwise(taken) for n in range(each)]
    return [max(PAGE, size // PAGE * PAGE) for size in spread]


if __name__ == "__main__":
    if sys.argv[1:2] == ["--inside"]:
        print(json.dumps(inside(*sys.argv[2:])))
    else:
        main()

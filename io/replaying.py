"""Making an artifact once more, beside the first: a scratch workspace with what the command found, and the comparison.

Stores never change a file in place, so that what the scratch workspace shares with the real one is linked, not copied.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from resplice.io import rehash
from resplice.transforms import provenance
from resplice.transforms.replay import TIMES
from resplice.transforms.settings import StoreOptions

RECOVERY = ("baseline", "plan", "repair", "validate", "merge", "verify")
_TAIL = 3


def seed(real: Path, scratch: Path, run_id: str, stage: str, snapshots: int) -> None:
    """Give the scratch workspace what a command of the recovery found in the real one: the stages of the run before
    `stage`, and the snapshots up to a number.
    """
    for number in range(1, snapshots + 1):
        name = f"snapshots/{number:08d}.json"
        if (real / name).is_file():
            _link(real / name, scratch / name)
    if snapshots:
        _link_tree(real / "objects", scratch / "objects")
    if stage in RECOVERY:
        before = RECOVERY[: RECOVERY.index(stage)]
        for name in before:
            _link_tree(real / "runs" / run_id / name, scratch / "runs" / run_id / name)
        if before:
            _link(real / "runs" / run_id / "run.json", scratch / "runs" / run_id / "run.json")


def _link_tree(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, copy_function=_link, ignore=shutil.ignore_patterns("live"))


def _link(source: str | Path, target: str | Path) -> None:
    """Link by name: a hard link would change the state of the real file, by which its digest is remembered."""
    Path(target).parent.mkdir(parents=True, exist_ok=True)
    Path(target).symlink_to(Path(source).resolve())


def begin(scratch: Path, run_id: str, command: str, started_at: str) -> None:
    """Let the run in the scratch workspace have begun when the real one did."""
    process = {"seq": 1, "command": command, "argv": [], "start": started_at, "end": started_at, "exit": 75,
               "counts": {}, "seconds": {}, "host": "", "pid": 0, "at_work": None}  # fmt: skip
    file = scratch / "runs" / run_id / "run.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(provenance.document({"run_id": run_id, "processes": [process]}))


def seed_book(pipeline_json: Path, scratch: Path, file_id: str) -> None:
    """Give the scratch folder a pipeline.json that has the texts of one book, and nothing that was made of them."""
    state = json.loads(pipeline_json.read_bytes())
    book = state["phase3"]["files"][file_id]
    texts = [str(pipeline_json.parent / path) for path in book.get("chunk_paths") or []]
    kept = {"phase3": {"files": {file_id: {**book, "chunk_paths": texts}}}}
    (scratch / "pipeline.json").write_bytes(provenance.document(kept))


def seed_runs(real: Path, scratch: Path, but: str) -> None:
    """Give the scratch workspace the snapshots and runs of the real one, without the stage `but` (RUN/STAGE)."""
    for name in ("snapshots", "objects"):
        _link_tree(real / name, scratch / name)
    for stage in (real / "runs").glob("*/*"):
        if f"{stage.parent.name}/{stage.name}" != but and (stage.is_dir() or stage.name == "run.json"):
            target = scratch / "runs" / stage.parent.name / stage.name
            _link_tree(stage, target) if stage.is_dir() else _link(stage, target)


def seed_embeddings(sidecar: Path, out: Path) -> None:
    """Give a scratch folder of embeddings the writings that were there before the one of a sidecar."""
    number = sidecar.name.partition("-")[0]
    for writing in sorted(sidecar.parent.glob("[0-9]*-*/")):
        if writing.name.partition("-")[0] < number:
            _link_tree(writing, out / writing.name)


def run(words: Sequence[str], folder: str) -> tuple[int, str]:
    """Run a command in a folder ("": the current one), of which it imports nothing; return its exit code and the last
    that it said on stderr.
    """
    done = subprocess.run([sys.executable, "-P", "-m", "resplice.pipelines", *words], cwd=folder or None, text=True,
                          errors="replace", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE)  # fmt: skip
    return done.returncode, "\n".join(done.stderr.strip().splitlines()[-_TAIL:])


def compared(
    before: Mapping[str, Any], after: Mapping[str, Any], options: StoreOptions, side: str = "outputs"
) -> Iterator[tuple[str, list[str]]]:
    """Yield each output (or, by `side`, input) of a sidecar whose bytes are others now, and in what; nothing, if its
    content is the same but for its times.
    """
    now, then = (dict(rehash.entries(sidecar["run_provenance"][side], side)) for sidecar in (after, before))
    for name, said in then.items():
        found = now.get(name)
        if found is None:
            yield name, ["it was not made" if side == "outputs" else "it was not read"]
        elif not rehash.alike(said, found) and rehash.differences(name, {**said, "path": found["path"]}, options):
            yield name, how(Path(said["path"]), Path(found["path"]))
    for name in sorted(now.keys() - then.keys()):
        yield name, ["it was not there before"]


def how(before: Path, after: Path) -> list[str]:
    """Return in what two files or folders differ."""
    if not (before.exists() and after.exists()):
        return ["bytes"]  # one is in no local folder, or there is none
    if before.is_dir() and after.is_dir():
        return _of_folders(before, after)
    with open(before, "rb") as file:
        head = file.read(16)
    if head[:4] == b"PAR1":
        return _of_tables(before, after)
    if head.startswith(b"SQLite format 3"):
        return _of_databases(before, after)
    try:
        return _of_documents(before, after)
    except ValueError:
        return [f"bytes ({before.stat().st_size} before, {after.stat().st_size} now)"]


def _of_folders(before: Path, after: Path) -> list[str]:
    sides = [{path.relative_to(root): path for path in root.rglob("*") if path.is_file()} for root in (before, after)]
    names = sorted({*sides[0], *sides[1]})
    wrong = [n for n in names if n not in sides[0] or n not in sides[1] or not _same(sides[0][n], sides[1][n])]
    return [f"{len(wrong)} files, the first {wrong[0]}"] if wrong else []


def _same(one: Path, other: Path) -> bool:
    return one.read_bytes() == other.read_bytes()


def _of_tables(before: Path, after: Path) -> list[str]:
    one, other = pq.read_table(before), pq.read_table(after)
    if one.schema.names != other.schema.names:
        return ["the columns"]
    wrong = [f"column {name}" for name in one.schema.names if not one.column(name).equals(other.column(name))]
    notes = [dict(table.schema.metadata or {}) for table in (one, other)]
    told = sorted({key.decode() for key in {*notes[0], *notes[1]} if notes[0].get(key) != notes[1].get(key)})
    return wrong + [f"file metadata {name}" for name in told] or ["layout, no column"]


def _of_databases(before: Path, after: Path) -> list[str]:
    sides = [_rows(path) for path in (before, after)]
    return [f"table {name}" for name in sorted({*sides[0], *sides[1]}) if sides[0].get(name) != sides[1].get(name)]


def _rows(path: Path) -> dict[str, list[Any]]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        names = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: sorted(map(repr, database.execute(f'SELECT * FROM "{name}"'))) for name in names}


def _of_documents(before: Path, after: Path) -> list[str]:
    """Return the keys in which two JSON documents, or any lines of two JSON lines files, differ; times do not count."""
    sides = [[json.loads(line) for line in _documents(path)] for path in (before, after)]
    if len(sides[0]) != len(sides[1]):
        return [f"lines ({len(sides[0])} before, {len(sides[1])} now)"]
    pairs = list(zip(*sides, strict=True))
    wrong = {key for a, b in pairs for key in {*_parts(a), *_parts(b)} if _parts(a).get(key) != _parts(b).get(key)}
    if not wrong and any(_canonical(a) != _canonical(b) for a, b in pairs):
        return ["bytes"]
    return [f"key {key}" for key in sorted(wrong)]


def _parts(value: Any) -> dict[str, str]:
    """Return the canonical text of each value of an object, without times; 1, 1.0 and true are not the same."""
    parts = value if isinstance(value, dict) else {}
    return {key: json.dumps(part, sort_keys=True) for key, part in parts.items() if key not in TIMES}


def _canonical(value: Any) -> str:
    return json.dumps(_parts(value) if isinstance(value, dict) else value, sort_keys=True)


def _documents(path: Path) -> list[str]:
    text = path.read_text("utf-8")
    try:
        json.loads(text)
    except ValueError:
        return text.splitlines()
    return [text]

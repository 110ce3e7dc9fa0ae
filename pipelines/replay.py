"""Running the command of a sidecar again, in a scratch workspace, and comparing what it makes with the artifact.

Each kind of artifact says by which flags its command is sent elsewhere, and what the command found in the workspace.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from resplice.io import clips, embedding, rehash, replaying, scoring, settling, sidecars, speaking, vmaf_logs
from resplice.pipelines import cli
from resplice.pipelines.show import cell
from resplice.transforms.records import Exit, UserError
from resplice.transforms.replay import command, redirected
from resplice.transforms.replay import shown as shown
from resplice.transforms.replay import workspace as workspace_of
from resplice.transforms.settings import StoreOptions

_CORPORA = {f"corpus {stage}": stage for stage in (vmaf_logs.STAGE, clips.STAGE, scoring.STAGE)}
_OUT = {f"corpus {vmaf_logs.STAGE}": "--output"}
_MADE, _MANIFEST = "made", "made.manifest.json"
_STAGES = (*replaying.RECOVERY, "recover", "pack", "rollback")


def run(file: str, sidecar: Mapping[str, Any], options: StoreOptions, quiet: bool) -> int:
    """Run the command of a sidecar again and compare; print what came out otherwise."""
    words, home = command(sidecar), sidecar.get("environment", {}).get("cwd", "")
    if home and not Path(home).is_dir():
        raise UserError(f"the command ran in {home}, and there is no such folder: make it again to run it there")
    name = cli.command_name(words)
    with tempfile.TemporaryDirectory(prefix="resplice-replay-") as folder:
        scratch = Path(folder)
        try:
            words, made = _elsewhere(words, name, Path(file).absolute(), sidecar, scratch)
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{file} does not tell what running {name} again needs: {error}") from None
        if not quiet:
            print("replay: running it in a scratch workspace ...", file=sys.stderr, flush=True)
        code, said = replaying.run(words, home)
        return _told(file, sidecar, sidecars.read(made), code, said, options)


def _elsewhere(
    words: list[str], name: str, file: Path, sidecar: Mapping[str, Any], scratch: Path
) -> tuple[list[str], Path]:
    """Return a command that works in the scratch folder, and the sidecar that it will write there."""
    if name in _CORPORA:
        _uncounted(file, sidecar["run_provenance"])
        return _corpus(words, name, sidecar, scratch)
    if name == "export":
        return _export(words, sidecar, scratch)
    if name == settling.STAGE:
        return _documents(words, sidecar, scratch)
    if name == embedding.STAGE:
        return _embeddings(words, file, sidecar, scratch)
    if name == speaking.STAGE:
        return _audio(words, sidecar, scratch)
    if name in _STAGES:
        return _recovery(words, name, file, sidecar, scratch)
    raise UserError(f"resplice {name} cannot be run again by itself; the command above makes it")


def _told(
    file: str, before: Mapping[str, Any], after: Mapping[str, Any] | None, code: int, said: str, options: StoreOptions
) -> int:
    if after is None:
        if code not in (Exit.DONE, Exit.INCOMPLETE):
            raise UserError(f"the command ended with {code}: {said}", Exit.FAILED)
        print(f"{cell(file)}: the command does not make it now: what it reads beside the named inputs has changed")
        return Exit.CONFLICT
    found = list(replaying.compared(before, after, options))
    read = [(name, how) for name, how in replaying.compared(before, after, options, "inputs") if how]
    for name, how in (*read, *found):
        print(f"{name}: " + (f"differs in {', '.join(how)}" if how else "has other bytes and the same content"))
    if read or any(how for _, how in found):
        return Exit.CONFLICT
    if not found:
        print(f"{cell(file)}: the command makes the same bytes again")
    return Exit.DONE


def _corpus(words: list[str], name: str, sidecar: Mapping[str, Any], scratch: Path) -> tuple[list[str], Path]:
    """Return the command of a corpus and the sidecar that it will write; nothing is taken from the cache."""
    run_id, workspace = str(sidecar["run_id"]), scratch / "workspace"
    replaying.begin(workspace, run_id, _CORPORA[name], str(sidecar["started_at"]))
    flags: dict[str, str | None] = {
        "--run-id": run_id,
        "--workspace": str(workspace),
        _OUT.get(name, "--out"): str(scratch / _MADE),
        "--manifest-out": str(scratch / _MANIFEST),
    }
    if name not in _OUT:
        flags["--cache-dir"] = None
    return redirected(words, flags), scratch / _MANIFEST


def _uncounted(file: Path, run_: Mapping[str, Any]) -> None:
    """Raise UserError if the artifact or its sidecar is a file of those of which --max-pairs takes the first."""
    if not run_["args"].get("max_pairs"):
        return
    listed = Path(run_["inputs"]["dis"]["path"]).resolve()
    for path in (*(Path(said["path"]) for _, said in rehash.entries(run_["outputs"], "outputs")), file):
        if path.parent.resolve() == listed:
            raise UserError(f"{path} is in {listed}, where --max-pairs counts it now; make it again with another --out")


def _documents(words: list[str], sidecar: Mapping[str, Any], scratch: Path) -> tuple[list[str], Path]:
    """Return the command of an index of documents that begins with none."""
    flags: dict[str, str | None] = {
        "--docs-root": str(scratch / _MADE),
        "--db": f"sqlite:///{scratch}/index.sqlite",
        "--bad-list": str(scratch / "bad.csv"),
        "--workspace": str(scratch / "workspace"),
    }
    return redirected(words, flags), scratch / _MANIFEST


def _embeddings(words: list[str], file: Path, sidecar: Mapping[str, Any], scratch: Path) -> tuple[list[str], Path]:
    """Return the command of a writing of embeddings that finds the writings before it; no library is kept."""
    replaying.seed_embeddings(file, scratch / _MADE)
    flags: dict[str, str | None] = {
        "--run-id": str(sidecar["run_id"]),
        "--out": str(scratch / _MADE),
        "--checkpoint-file": str(scratch / "checkpoint.json"),
        "--library": None,
        "--workspace": str(scratch / "workspace"),
    }
    words = [word for word in words if word != "--preview"]
    if "tars" in sidecar["run_provenance"]["inputs"]:  # those that were repaired are in the workspace
        replaying.seed_runs(Path(sidecar["workspace"]), scratch / "workspace", f"{sidecar['run_id']}/{embedding.STAGE}")
    return redirected(words, flags), scratch / _MADE / file.name


def _audio(words: list[str], sidecar: Mapping[str, Any], scratch: Path) -> tuple[list[str], Path]:
    """Return the command that makes a book, and the sidecar of the chunk, or of the book, that it will write."""
    book, folder = str(sidecar["stats"]["file_id"]), str(sidecar.get("environment", {}).get("cwd", ""))
    given = str(sidecar["run_provenance"]["args"]["pipeline_json"])
    replaying.seed_book(Path(folder, given), scratch, book)
    words = [word for word in words if word != "--all"]
    flags: dict[str, str | None] = {
        "--pipeline-json": str(scratch / "pipeline.json"),
        "--file-id": book,
        "--workspace": str(scratch / "workspace"),
        "--retry": None,
    }
    chunk = sidecar["stats"].get("chunk_id")
    made = f"{book}/{chunk}.wav" if chunk else book
    return redirected(words, flags), scratch / "audio" / f"{made}{sidecars.SUFFIX}"


def _export(words: list[str], sidecar: Mapping[str, Any], scratch: Path) -> tuple[list[str], Path]:
    """Return the command of an export, with the snapshots that there were."""
    inputs = sidecar["run_provenance"]["inputs"]
    snapshot = inputs.get("snapshot")
    if snapshot:
        real = workspace_of(Path(snapshot["path"]).absolute(), str(sidecar["run_id"]))
        replaying.seed(real, scratch / "workspace", "", "", int(sidecar["stats"]["snapshot"]))
    target = scratch / _MADE
    made = redirected(words, {"--to": str(target)}, str(scratch / "workspace"))
    return made, scratch / _MANIFEST


def _recovery(
    words: list[str], name: str, file: Path, sidecar: Mapping[str, Any], scratch: Path
) -> tuple[list[str], Path]:
    """Return a command of the recovery, with the stages and the snapshots that it found."""
    run_id, workspace = str(sidecar["run_id"]), scratch / "workspace"
    real = workspace_of(file, run_id)
    replaying.seed(real, workspace, run_id, name, _snapshots(real, file, name, sidecar))
    return redirected(words, {}, str(workspace)), workspace / file.relative_to(real)


def _snapshots(real: Path, file: Path, name: str, sidecar: Mapping[str, Any]) -> int:
    """Return the number of the last snapshot that a command found."""
    if file.parent == real / "snapshots":
        return int(file.name.partition(".")[0]) - 1
    if name in ("verify", "plan"):
        return int(sidecar["stats"]["snapshot"])
    plan = sidecars.read(real / "runs" / str(sidecar["run_id"]) / "plan" / f"affected.parquet{sidecars.SUFFIX}")
    return int(plan["stats"]["snapshot"]) if plan else 0

"""What must hold before a command begins: its places are there, and the stages before it have ended."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from resplice.io import documents, runstate, sidecars
from resplice.io.context import Context
from resplice.io.store import Place
from resplice.transforms.records import UserError

CORPUS = ("raw", "transcribed", "validation")
BEFORE = {
    "plan": ("baseline", "baseline.json"),
    "repair": ("plan", "plan.json"),
    "validate": ("repair", "summary.json"),
    "merge": ("validate", "summary.json"),
    "verify": ("merge", "summary.json"),
    "finalize": ("verify", "coverage.json"),
}
"""The stage that must have ended before each command, and the file by which it has."""


def corpus(context: Context, names: Sequence[str]) -> None:
    """Raise UserError unless the roots of the corpus are there: a missing one must not read as missing tars.

    Below a bucket there are no folders: there a root without any object is missing, if it is that of the raw tars.
    """
    workspace(context)
    for name in names:
        place: Place = getattr(context, name)
        if place.local:
            if not Path(place.url).is_dir():
                raise UserError(f"corpus.{name}: there is no folder {place.url}; set it to the one that you mean")
        elif next(place.store.list(), None) is None and name == "raw":
            raise UserError(f"corpus.raw: there is no object below {place.url}; set it to the one that you mean")


def workspace(context: Context) -> None:
    """Raise UserError if a file stands where the workspace is to be."""
    if context.workspace.local and Path(context.workspace.url).is_file():
        raise UserError(f"corpus.workspace: {context.workspace.url} is a file; name a folder")


def folders(context: Context) -> list[str]:
    """Return the settings that name a folder or a file of this machine, which workers elsewhere may not see."""
    local = [f"corpus.{name}" for name in (*CORPUS, "workspace") if getattr(context, name).local]
    return local + ["database.url"] * context.settings.database.url.startswith("sqlite")


def honest(place: Place) -> None:
    """Raise UserError unless a bucket honours what every stage relies on: about ten requests, on keys of our own.

    `doctor` tries more. A local folder needs no trial.
    """
    from resplice.io import probe

    if place.local or place.scratch:
        return
    try:
        faults = probe.faults(place.store, rounds=0)
    except UserError as error:
        raise UserError(f"corpus.workspace: trying it out: {error}", error.exit_code) from None
    if faults:
        raise UserError(
            f"corpus.workspace: {place.url} is not safe to publish on: {'; '.join(faults)}\n"
            "remedy: a store that honours conditional writes; `resplice doctor` tells more"
        )


def frozen_world(context: Context) -> dict[str, Any]:
    """Return the digests of what the baseline froze, by which a plan knows its baseline."""
    store, stage = context.workspace.store, context.stage("baseline")
    names = ("baseline.json", "videos.parquet", "world.json")
    return {name: sidecars.digest(store, f"{stage}/{name}") for name in names}


def before(context: Context, command: str) -> None:
    """Raise UserError unless the stage before the command has ended in this run."""
    stage, file = BEFORE.get(command, ("", ""))
    if stage and context.workspace.store.head(f"{context.stage(stage)}/{file}") is None:
        known = runstate.known_runs(context.workspace.store)
        there = "" if context.run.id in known else f" (there is no such run; known: {', '.join(known) or 'none'})"
        raise UserError(
            f"run {context.run.id!r} has no {stage} yet: first run `resplice {stage} --run-id {context.run.id}`{there}"
        )
    if command in ("repair", "validate", "merge", "verify"):
        if context.workspace.store.head(f"{context.stage('baseline')}/baseline.json") is None:
            raise UserError(
                f"the baseline of run {context.run.id!r} is not finished: first run "
                f"`resplice baseline --run-id {context.run.id}`"
            )
        asked = documents.load(context.workspace.store, f"{context.stage('plan')}/asked.json")
        if asked["world"] != frozen_world(context):
            raise UserError(
                f"the plan of run {context.run.id!r} is of an earlier baseline: first run "
                f"`resplice plan --run-id {context.run.id}`"
            )


def read_ids(path: str) -> list[str]:
    """Return the video ids of a file, UTF-8 with a byte order mark or without: one a line, blank lines skipped.
    UserError if it cannot be read.
    """
    try:
        return [line for line in Path(path).read_text("utf-8-sig").splitlines() if line.strip()]
    except OSError as error:
        raise UserError(f"--videos {path}: {error.strerror}; give a file with one video id a line") from None
    except UnicodeDecodeError as error:
        raise UserError(f"--videos {path} is not UTF-8: {error.reason} at byte {error.start}") from None

"""The checks of `doctor` on places: each probes one thing and says what it found; what it raises is its failure.

What is heavy is imported where it is probed: a package that cannot be imported is a finding, too.
"""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from resplice.pipelines import cli
from resplice.pipelines.args import Doctor
from resplice.pipelines.config import Resolved
from resplice.transforms import checkup
from resplice.transforms.checkup import Finding, State
from resplice.transforms.records import UserError
from resplice.transforms.settings import Settings

CORPUS = ("raw", "transcribed", "validation")


@dataclass(frozen=True)
class Situation:
    """What the checks look at: the settings in force, and Beam's options of the command line."""

    resolved: Resolved
    tokens: tuple[str, ...] = ()

    @property
    def settings(self) -> Settings:
        """Return the settings in force."""
        return self.resolved.settings

    def folder(self, name: str) -> Path:
        """Return a root of the corpus. UserError if it is none that this version can use."""
        url = str(getattr(self.settings.corpus, name))
        if "://" in url:
            raise UserError(f"corpus.{name} = {url}: this version works on local folders")
        return Path(url)

    @cached_property
    def raw_sizes(self) -> tuple[int, int, bool] | None:
        """Return what `probe.tar_sizes` tells of the raw tars; None if they cannot be looked at."""
        from resplice.io import probe

        try:
            return probe.tar_sizes(self.folder("raw"))
        except (OSError, UserError):  # the check of the folder tells it
            return None


def python(_: Any) -> Iterator[Finding]:
    """Check the version of Python."""
    yield checkup.python(sys.version_info[:3])


def packages(_: Any) -> Iterator[Finding]:
    """Check that the installed packages are those that this version requires."""
    shown = f"resplice {_version('resplice')}, apache-beam {_version('apache-beam')}"
    yield checkup.packages(wrong_packages(), shown)


def wrong_packages(extra: str = "") -> dict[str, str]:
    """Return what is there instead of what resplice requires, or instead of what one of its extras adds to that."""
    from packaging.requirements import Requirement

    wrong = {}
    for requirement in map(Requirement, importlib.metadata.requires("resplice") or []):
        marker, there = requirement.marker, _version(requirement.name)
        of = next((name for name in ("", extra) if marker is None or marker.evaluate({"extra": name})), None)
        if of == extra and (there is None or not requirement.specifier.contains(there, prereleases=True)):
            named = f"{requirement.name}{requirement.specifier}"
            wrong[named] = "not installed" if there is None else f"{there} is installed"
    return wrong


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def settings(situation: Situation) -> Iterator[Finding]:
    """Tell where the settings come from."""
    given = sum(origin != "default" for origin in situation.resolved.origin.values())
    path = situation.resolved.path
    where = str(path) if path else "no resplice.toml in this folder: the defaults"
    yield Finding("settings", State.OK, f"{where} ({given} keys given)")


def runner(situation: Situation) -> Iterator[Finding]:
    """Check the runner and Beam's options."""
    from resplice.pipelines import options

    beam, workers = dict(situation.settings.beam), situation.settings.run.workers
    argv = options.beam_argv(situation.tokens, beam, workers, cli.own_flags(Doctor))
    yield checkup.runner(options.runner_of(argv), workers)


def corpus(name: str, situation: Situation) -> Iterator[Finding]:
    """Check that a folder of the corpus is there and can be read."""
    from resplice.io import probe

    check, folder = f"corpus.{name}", situation.folder(name)
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}" if not folder.exists() else f"{folder} is no folder")
    tars = probe.holds_tar(folder)
    if name == "transcribed":
        writable = "writable" if os.access(folder, os.W_OK) else "not writable, which only `finalize --tars` needs"
        yield Finding(check, State.OK, f"{folder}, {writable}")
    elif name == "raw" and not tars:
        yield Finding(check, State.WARNING, f"{folder} holds no .tar", "set corpus.raw to the folder of the raw tars")
    else:
        yield Finding(check, State.OK, str(folder))


def workspace(situation: Situation) -> Iterator[Finding]:
    """Check that the workspace is or can be made, and tells `a` from `A`."""
    from resplice.io import probe

    folder = situation.folder("workspace")
    there = probe.existing(folder)
    with probe.scratch(there) as inside:
        tells = probe.tells_case(inside)
    if not tells:
        raise UserError(f"{there} is on a file system that does not tell `a` from `A`")
    yield Finding("workspace", State.OK, f"{folder}, " + ("writable" if there == folder else "will be created"))


def store(situation: Situation) -> Iterator[Finding]:
    """Check that the store of the workspace honours what publishing relies on."""
    from resplice.io import probe

    with probe.scratch(probe.existing(situation.folder("workspace"))) as inside:
        faults = probe.faults(probe.local_store(inside))
    if faults:
        raise UserError("not honoured: " + "; ".join(faults))
    yield Finding("store", State.OK, "create-only and conditional writes, read after write, lists: all honoured")


def database(situation: Situation) -> Iterator[Finding]:
    """Check the tables, columns and indexes, that there are rows, and which statuses the videos have."""
    from resplice.io import dbprobe

    facts = dbprobe.look(situation.settings.database)
    empty = [name for name, there in (("rows", facts.rows), ("videos", facts.videos)) if not there]
    if empty:
        yield Finding("database", State.WARNING, f"{facts.where}: no row in the table of {' and of '.join(empty)}",
                      "set database.rows_table and database.videos_table to your tables")  # fmt: skip
    else:
        yield Finding("database", State.OK, f"{facts.where}, opened read-only: tables and columns are there, with rows")
    yield checkup.indexes(facts.unindexed)
    yield checkup.statuses(facts.statuses, facts.whole, situation.settings.plan.failed_statuses)


def memory(situation: Situation) -> Iterator[Finding]:
    """Check the memory of the workers against what there is."""
    from resplice.io import probe

    yield checkup.memory(situation.settings.run.workers, situation.settings.run.memory_mb, probe.memory_bytes())


def open_files(situation: Situation) -> Iterator[Finding]:
    """Check how many files may be open."""
    import resource

    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    limit = -1 if soft == resource.RLIM_INFINITY else soft
    yield checkup.open_files(limit, situation.settings.run.workers)


def disk(situation: Situation) -> Iterator[Finding]:
    """Check the room for repaired tars: those of an open plan, else of the raw tars, of which a plan is a part."""
    from resplice.io import probe, runstate

    folder = situation.folder("workspace")
    there = probe.existing(folder)
    planned = runstate.open_plan(probe.local_store(folder)) if there == folder else None
    if planned is not None:
        needed, why = planned["raw_bytes"], f"the raw tars of {planned['videos']} planned videos"
    elif situation.raw_sizes is None:
        yield Finding("disk", State.SKIPPED, f"{checkup.shown(shutil.disk_usage(there).free)} free; needs corpus.raw")
        return
    else:
        needed, _, whole = situation.raw_sizes
        why = "all raw tars, of which a part is planned" if whole else "the first raw tars, of which a part is planned"
    yield checkup.room(str(there), shutil.disk_usage(there).free, needed, why, certain=planned is not None)


def temporary(situation: Situation) -> Iterator[Finding]:
    """Check the room for temporary files."""
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    if situation.raw_sizes is None:
        yield Finding("temporary", State.SKIPPED, f"{checkup.shown(free)} free in {folder}; needs corpus.raw")
        return
    largest = situation.raw_sizes[1]
    yield checkup.temporary(folder, free, largest, situation.settings.run.workers)

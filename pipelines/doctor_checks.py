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
from typing import TYPE_CHECKING, Any

from resplice.pipelines import checks, cli
from resplice.pipelines.args import Doctor
from resplice.pipelines.config import Resolved
from resplice.transforms import checkup
from resplice.transforms.checkup import Finding, State
from resplice.transforms.records import UserError
from resplice.transforms.settings import Settings

if TYPE_CHECKING:
    from resplice.io.probe import Tars
    from resplice.io.store import Place

CORPUS = checks.CORPUS


@dataclass(frozen=True)
class Situation:
    """What the checks look at: the settings in force, and Beam's options of the command line."""

    resolved: Resolved
    tokens: tuple[str, ...] = ()

    @property
    def settings(self) -> Settings:
        """Return the settings in force."""
        return self.resolved.settings

    def place(self, name: str) -> Place:
        """Return a root of the corpus."""
        from resplice.io.store import Place

        return Place(str(getattr(self.settings.corpus, name)), options=self.settings.store)

    @cached_property
    def raw_tars(self) -> Tars | None:
        """Return what the raw tars are; None if they cannot be looked at."""
        from resplice.io import probe

        try:
            return probe.tars(self.place("raw"))
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
    """Check that a root of the corpus is there and can be read."""
    check, place = f"corpus.{name}", situation.place(name)
    if not place.local:
        yield checkup.root(check, place.url, next(place.store.list(), None) is not None)
        return
    folder = Path(place.url)
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}" if not folder.exists() else f"{folder} is no folder")
    with os.scandir(folder):  # readable
        pass
    if name == "transcribed":
        writable = "writable" if os.access(folder, os.W_OK) else "not writable, which only `finalize --tars` needs"
        yield Finding(check, State.OK, f"{folder}, {writable}")
    elif name == "raw" and situation.raw_tars is not None and not situation.raw_tars.count:
        yield Finding(check, State.WARNING, f"{folder} holds no .tar", "set corpus.raw to the folder of the raw tars")
    else:
        yield Finding(check, State.OK, str(folder))


def workspace(situation: Situation) -> Iterator[Finding]:
    """Check that the workspace is or can be made, and tells `a` from `A`."""
    from resplice.io import probe

    place = situation.place("workspace")
    if not place.local:
        checks.honest(place)
        yield Finding("workspace", State.OK, f"{place.url}, writable")
        return
    folder = Path(place.url)
    there = probe.existing(folder)
    with probe.scratch(there) as inside:
        tells = probe.tells_case(inside)
    if not tells:
        raise UserError(f"{there} is on a file system that does not tell `a` from `A`")
    yield Finding("workspace", State.OK, f"{folder}, " + ("writable" if there == folder else "will be created"))


def store(situation: Situation) -> Iterator[Finding]:
    """Check that the store of the workspace honours what publishing relies on."""
    from resplice.io import probe
    from resplice.io.store import Place

    place = situation.place("workspace")
    if place.local:
        with probe.scratch(probe.existing(Path(place.url))) as inside:
            faults, of_parts = probe.faults(Place(str(inside)).store), list[str]()
    else:
        from resplice.io import s3probe

        faults, of_parts = probe.faults(place.store), s3probe.faults(place)
    yield from checkup.store(faults, of_parts)


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

    place = situation.place("workspace")
    if not place.local:
        yield Finding("disk", State.OK, f"{place.url} tells no limit")
        return
    folder = Path(place.url)
    there = probe.existing(folder)
    planned = runstate.open_plan(place.store) if there == folder else None
    if planned is not None:
        needed, why = planned["raw_bytes"], f"the raw tars of {planned['videos']} planned videos"
    elif situation.raw_tars is None:
        yield Finding("disk", State.SKIPPED, f"{checkup.shown(shutil.disk_usage(there).free)} free; needs corpus.raw")
        return
    else:
        needed = situation.raw_tars.bytes
        which = "all" if situation.raw_tars.whole else "the first"
        why = f"{which} raw tars, of which a part is planned"
    yield checkup.room(str(there), shutil.disk_usage(there).free, needed, why, certain=planned is not None)


def temporary(situation: Situation) -> Iterator[Finding]:
    """Check the room for temporary files."""
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    if situation.raw_tars is None:
        yield Finding("temporary", State.SKIPPED, f"{checkup.shown(free)} free in {folder}; needs corpus.raw")
        return
    copies = 2 if situation.place("raw").local else 3  # what is read over the network is brought here first
    yield checkup.temporary(folder, free, copies * situation.raw_tars.largest, situation.settings.run.workers)

"""What the commands about the gap share: the flags as an audit, its memory, its progress."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from resplice.io.context import Context
from resplice.io.digests import MEMORY, Digests
from resplice.io.gaps import Audit, Found, audit
from resplice.io.library import LibraryFile
from resplice.io.walk import absolute, listed
from resplice.pipelines import progress
from resplice.pipelines.config import Resolved
from resplice.pipelines.identity import IDENTITY, choice, windows_of
from resplice.transforms import paths
from resplice.transforms.gaps import Wanted
from resplice.transforms.paths import S3
from resplice.transforms.records import UserError
from resplice.transforms.windows import Windows


def roots(given: tuple[str, ...], flag: str = "--music-root") -> tuple[str, ...]:
    """Return folders as native absolute paths. UserError for one that is not there: its files would seem to be gone."""
    for root in given:
        if not root.startswith(S3) and not Path(root).is_dir():
            raise UserError(f"{flag} {root}: there is no such folder; name the one that you mean")
    return tuple(map(absolute, given))


def excluded(file: str | None) -> frozenset[str]:
    """Return the normalised paths that an exclude file lists."""
    if file is None:
        return frozenset()
    return frozenset(paths.normal(paths.escaped(absolute(path))) for path in listed(file))


def library_at(given: str, context: Context) -> LibraryFile:
    """Return the library that --library names. UserError if there is none."""
    file = LibraryFile.at(given, context.settings.store, context.scratch)
    if not file.exists():
        raise UserError(
            f"--library {given}: there is no such file; name the one that you mean, or leave --library out: then "
            "nothing is embedded yet"
        )
    return file


def wanted(args: Any, resolved: Resolved) -> Wanted | None:
    """Return the embedder and the windows that vectors are to be of; None where neither a flag nor [embed] names any of
    them: vectors of any embedder count then. UserError for what cannot be meant.
    """
    settings = resolved.settings.embed
    windows = windows_of(args, settings.windows)
    asked = any(resolved.origin[f"embed.{name}"] != "default" for name in IDENTITY)
    if not asked and windows == Windows.of(settings.windows):
        return None
    return Wanted(choice(resolved).digest, str(windows))


def audited(ask: Audit, context: Context, title: str, quiet: bool, save: bool = True) -> Found:
    """Run an audit with the digests that the workspace remembers, and keep (`save`) what it learnt."""
    memory = Digests(context.workspace.store, MEMORY)

    def shown(total: int, work: Callable[[Callable[[int], None]], None]) -> None:
        told = progress.Told()
        with progress.shown(title, "file", total, told.counts, quiet):
            work(told)

    found = audit(ask, memory, shown)
    if save:
        memory.save()
    return found


def table_of(counts: dict[str, Any]) -> list[str]:
    """Return the counters of an audit as lines."""
    return [f"  {name:30} {value:>9,}" for name, value in counts.items() if name != "samples"]

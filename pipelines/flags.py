"""Flags as frozen dataclasses: field = `--flag`, metadata = help, choices and settings key.

Nothing heavy is imported here, so that `--help` answers at once. A field's metadata:
`help` one line · `positional` True for an argument without a flag · `required` True for a flag that must be given ·
`choices` the values it may have · `minimum` the least number · `name` the flag where the field's name cannot be it ·
`key` the key of resplice.toml that the flag overrides (the key's choices hold then) · `fallback` the key's default for
this command · `named` True for a run id that is made up where it is not given · `native` True for paths of audio, or
lists of them, of which a job takes names that are not UTF-8, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from typing import Any, TypeVar


def flag(help: str, default: Any = None, **metadata: Any) -> Any:
    """Declare one flag: its help, its default, and `choices`, `key`, `required` or `positional`."""
    return field(default=default, metadata={"help": help, **metadata})


_Args = TypeVar("_Args", bound="Base")


@dataclass(frozen=True, kw_only=True)
class Base:
    """Flags of every command."""

    quiet: bool = flag("Show no progress.", False)
    debug: bool = flag("Show the traceback of an error.", False)


@dataclass(frozen=True, kw_only=True)
class Common(Base):
    """Flags of every command that reads the configuration."""

    config: str | None = flag("Configuration file; default: resplice.toml in the current folder, if it is there.")
    set: tuple[str, ...] = flag("Override one key: section.key=VALUE (repeatable).", ())


@dataclass(frozen=True, kw_only=True)
class NamedArgs(Common):
    """Flags of every command about one run."""

    run_id: str | None = flag("Name of the run; the same name resumes it.", required=True)


@dataclass(frozen=True, kw_only=True)
class JobArgs(NamedArgs):
    """Flags of every job: it writes, works in parallel and may refuse units."""

    dry_run: bool = flag("Decide and report, but write to no store and no database.", False)
    workers: int | None = flag("Cores to use on the in-process runner.", key="run.workers")
    max_refused: float | None = flag("Share of refused units above which the stage exits 3.", key="run.max_refused")


@dataclass(frozen=True, kw_only=True)
class RunArgs(JobArgs):
    """Flags of every stage of the recovery."""

    retry: str | None = flag("What to try again of an earlier process.", key="run.retry")


WORKSPACE = "resplice-work"
"""The workspace of jobs that need no configuration, where none names one: a folder of the current one."""


def workspace() -> Any:
    """Declare the flag of a job's own workspace."""
    help_ = f"Folder of the run's files; default: corpus.workspace, else {WORKSPACE}."
    return flag(help_, key="corpus.workspace", fallback=WORKSPACE)


def named(command: str, args: _Args) -> _Args:
    """Return the flags with a new run id, of the command and the moment, where it may be left out and was."""
    if any(field_.metadata.get("named") and getattr(args, field_.name) is None for field_ in fields(args)):
        return replace(args, run_id=f"{command}-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}")  # type: ignore[call-arg]
    return args


def overrides(args: Base) -> dict[str, Any]:
    """Return the keys of resplice.toml that the given flags override, with their values."""
    return {
        field_.metadata["key"]: value
        for field_ in fields(args)
        if "key" in field_.metadata and (value := getattr(args, field_.name)) not in (None, ())
    }


def fallbacks(args: Base) -> dict[str, Any]:
    """Return the keys of resplice.toml that have a default of their own for this command."""
    return {
        field_.metadata["key"]: field_.metadata["fallback"] for field_ in fields(args) if "fallback" in field_.metadata
    }


def spelling(name: str, metadata: Mapping[str, Any]) -> str:
    """Return the flag of the field `name`: `run_id` is `--run-id`."""
    return "--" + str(metadata.get("name", name)).replace("_", "-")

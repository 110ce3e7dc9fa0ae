"""The command that a sidecar tells of, and the same command with its results sent elsewhere."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from resplice.transforms.records import UserError

_WORKSPACE = "corpus.workspace="
_HIDDEN = "***"
TIMES = frozenset({"at", "created_at", "timestamp", "started_at", "process_started_at", "elapsed_s"})
"""Names of values that tell when something was made."""


def command(sidecar: Mapping[str, Any]) -> list[str]:
    """Return the words behind `resplice`, with the settings that came from the environment or a file as `--set`.

    UserError if one of the words held a secret, which no sidecar does.
    """
    words = list(sidecar["run_provenance"].get("argv", []))
    if not words:
        raise UserError("the sidecar names no command")
    if hidden := [word for word in words if word == _HIDDEN or word.endswith(f"={_HIDDEN}") or ":***@" in word]:
        raise UserError(f"the command had a secret that no sidecar holds: {hidden[0]}; give it in the environment")
    end = words.index("--") if "--" in words else len(words)
    return [*words[:end], *_settings(sidecar), *words[end:]]


def _settings(sidecar: Mapping[str, Any]) -> list[str]:
    """Return the flags of settings that the words do not tell; one with a secret is left to the environment."""
    given: list[str] = []
    for key, said in sorted(sidecar.get("settings", {}).items()):
        if isinstance(said, dict) and said.get("from") in ("environment", "file"):
            value = json.dumps(said.get("value"), ensure_ascii=False)
            if _HIDDEN not in value:
                given += ["--set", f"{key}={value}"]
    return given


def shown(sidecar: Mapping[str, Any]) -> str:
    """Return the command as a line for a shell."""
    line = shlex.join(["resplice", *command(sidecar)])
    folder = sidecar.get("environment", {}).get("cwd")
    return f"cd {shlex.quote(folder)} && {line}" if folder else line


def workspace(file: Path, run_id: str) -> Path:
    """Return the workspace that holds a snapshot, or an artifact of a run, whatever the folders above it are called.

    UserError if none does.
    """
    for real in file.parents:
        if file.parent == real / "snapshots" or real / "runs" / run_id in file.parents:
            return real
    raise UserError(f"{file} is in no local workspace: give the sidecar where the command wrote it")


def redirected(words: Sequence[str], flags: Mapping[str, str | None], workspace: str = "") -> list[str]:
    """Return a command with other values of some flags (None: without it).

    `workspace` is given as a setting to a command that has no flag of it.
    """
    head = _without(words, flags)
    end = head.index("--") if "--" in head else len(head)
    given = [f"{flag}={value}" for flag, value in flags.items() if value is not None]
    if workspace:
        given += ["--set", f"{_WORKSPACE}{workspace}"]
    return [*head[:end], *given, *head[end:]]


def _without(words: Sequence[str], flags: Mapping[str, str | None]) -> list[str]:
    kept: list[str] = []
    left = iter(words)
    for word in left:
        if word == "--":
            return [*kept, word, *left]
        flag, is_, _ = word.partition("=")
        if word.startswith("--") and flag.replace("_", "-") in flags:
            if not is_:
                next(left, None)
        elif word == "--set" or (flag == "--set" and is_):
            value = next(left, "") if word == "--set" else word.removeprefix("--set=")
            if not value.startswith(_WORKSPACE):
                kept += ["--set", value]
        else:
            kept.append(word)
    return kept

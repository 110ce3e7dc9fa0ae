"""Folders of models by what is in them; none of the packages that run a model is needed to tell."""

from __future__ import annotations

import hashlib
from pathlib import Path

_MARK = "; model "


def digest(folder: Path) -> str:
    """Return the first 16 digits of the SHA-256 of the names and bytes of the files of a model."""
    total = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        with file.open("rb") as opened:
            sha256 = hashlib.file_digest(opened, "sha256").hexdigest()
        total.update(f"{file.relative_to(folder).as_posix()}\0{sha256}\n".encode())
    return total.hexdigest()[:16]


def versioned(version: str, folder: Path) -> str:
    """Return the version of an engine with the model of a folder."""
    return f"{version}{_MARK}{digest(folder)}"


def of_version(version: str) -> str:
    """Return the digest of the model in the version of an engine, "" if it has none."""
    return version.partition(_MARK)[2]

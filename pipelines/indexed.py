"""The index of documents as flags name it."""

from __future__ import annotations

from pathlib import Path

from resplice.pipelines.keys import absolute, masked
from resplice.transforms.records import UserError


def url_of(given: str) -> str:
    """Return the URL of `--db`, its file relative to the current folder. UserError if it holds a password."""
    if masked(given) != given:
        raise UserError("--db holds a password: leave it out, and give PGPASSWORD or ~/.pgpass")
    return str(absolute("database.url", given, Path.cwd(), "--db"))


def folder_of(given: str, flag: str, there: bool = True) -> str:
    """Return a folder that a flag names, relative to the current one. UserError for what is none, or is not `there`."""
    if "://" in given:
        raise UserError(f"{flag} {given}: documents are read and written in local folders; name one")
    folder = Path(given).absolute()
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{flag} {given} is a file; name a folder")
    if there and not folder.is_dir():
        raise UserError(f"{flag} {given}: there is no such folder; name the one that you mean")
    return str(folder)

"""The index of documents as flags name it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from resplice.io.index import Index
from resplice.io.settling import BAD
from resplice.pipelines.keys import absolute, masked
from resplice.transforms.documents import SOURCES
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


def bad_list_of(given: str, cross: str, roots: Sequence[str], docs: str, url: str) -> Path:
    """Return the file of `--bad-list`. UserError for one that is, or would be among, what a run reads or else writes.

    The CSVs may lie below a root of responses, and the list beside them.
    """
    bad = Path(given).absolute()
    if fault := _fault(bad, Path(cross).resolve(), roots, docs, Index(url).file):
        raise UserError(f"--bad-list {bad} {fault}; name another file")
    return bad


def _fault(bad: Path, cross: Path, roots: Sequence[str], docs: str, index: str) -> str:
    real = bad.resolve()
    if bad.is_dir():
        return "is a folder"
    if real in {(cross / source.csv).resolve() for source in SOURCES}:
        return "is one of the CSVs"
    if index and real == Path(index).resolve():
        return "is the index of --db"
    if real.is_relative_to(Path(docs).resolve()):
        return f"is below --docs-root {docs}"
    for root in roots:
        top = Path(root).resolve()
        if real.is_relative_to(top) and not cross.is_relative_to(top):
            return f"is below --gen-root {root}"
    return "" if _is_free(real) else "is there, and is no bad list"


def _is_free(path: Path) -> bool:
    """Return whether a list may be written to a path: nothing is there, or an empty file, or a list of bad rows."""
    if not path.is_file():
        return not path.exists()
    header = ",".join(BAD).encode()
    with path.open("rb") as file:
        start = file.read(len(header) + 2)
    return not start or start.splitlines()[0] == header

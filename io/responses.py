"""Response files below the roots of generations: found without leaving a root, read whole."""

from __future__ import annotations

import hashlib
import io
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from resplice.transforms.documents import cut
from resplice.transforms.records import Reason, Refusal

PROMPTS = "links_prompts"
_NOT_THERE = (FileNotFoundError, NotADirectoryError)


@dataclass(frozen=True)
class Response:
    """A response as it was read: its digest, its code points, and the number of the root that has it."""

    sha256: str
    chars: int
    root: int


def find(roots: Sequence[str], name: str) -> tuple[int, str]:
    """Return the number of the first root that has the file, and its path.

    Raises Refusal unsafe_path if it is absolute or leaves a root that is asked, missing_response_file if none has it.
    """
    if not name:
        raise Refusal(Reason.MISSING_RESPONSE_FILE, "response_file is empty")
    if Path(name).is_absolute():
        raise Refusal(Reason.UNSAFE_PATH, f"{cut(name)} is absolute")
    for number, root in enumerate(roots):
        path = _inside(root, name)
        if _is_file(path) and not name.endswith("/"):
            return number, path
    raise Refusal(Reason.MISSING_RESPONSE_FILE, f"{cut(name)} {_missing([f'{root}/{name}' for root in roots])}")


def _missing(paths: Sequence[str]) -> str:
    if any(map(os.path.isdir, paths)):
        return "is a folder"
    return "is no regular file" if any(map(os.path.exists, paths)) else "is not there"


def _inside(root: str, name: str) -> str:
    """Return the real path of a name below a root. Refusal unsafe_path if it is not below it."""
    folder, _, last = name.rpartition("/")
    real = _real(root, folder)
    path = f"{real}/{last}"
    if last in ("", ".", "..") or _is_link(path):
        path = os.path.realpath(f"{root}/{name}")
    top = _real(root, "")
    if path != top and not path.startswith(top.rstrip("/") + "/"):
        raise Refusal(Reason.UNSAFE_PATH, f"{cut(name)} leaves the root, to {cut(path)}")
    return path


@lru_cache(maxsize=4096)
def _real(root: str, folder: str) -> str:
    return os.path.realpath(f"{root}/{folder}")


def _is_link(path: str) -> bool:
    try:
        return stat.S_ISLNK(os.lstat(path).st_mode)
    except (OSError, ValueError):
        return False


def _is_file(path: str) -> bool:
    try:
        return stat.S_ISREG(os.stat(path).st_mode)  # noqa: PTH116
    except (*_NOT_THERE, ValueError):
        return False
    except OSError as error:
        if isinstance(error, PermissionError):
            raise
        return False  # a name that is too long, links in a circle


def examine(roots: Sequence[str], name: str) -> Response:
    """Read a response. Refusal unsafe_path, missing_response_file or undecodable_response."""
    root, path = find(roots, name)
    try:
        data = read(path)
    except _NOT_THERE:
        raise Refusal(Reason.MISSING_RESPONSE_FILE, f"{cut(name)} is not there") from None
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise Refusal(Reason.UNDECODABLE_RESPONSE, f"{cut(name)}: {error.reason} at byte {error.start}") from None
    return Response(hashlib.sha256(data).hexdigest(), len(text), root)


def read(path: str) -> bytes:
    """Return the bytes of a file."""
    with io.FileIO(path) as file:  # no buffer, no text layer: there may be a million of them
        return file.readall()


def prompt(roots: Sequence[str], task_id: str) -> str:
    """Return the path of a link's prompt; "" if no root has one, or it would leave a root."""
    try:
        return find(roots, f"{PROMPTS}/{task_id}.txt")[1]
    except Refusal:
        return ""

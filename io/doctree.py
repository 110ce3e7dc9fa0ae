"""The folders of documents: each is made beside the tree and renamed into it whole, so that none is ever half there."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import io
import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from resplice.io.local import TEMPORARY
from resplice.io.responses import read
from resplice.io.trees import Files
from resplice.transforms.records import DISK_FULL

RAW, PARSED, PROMPT, METADATA = "raw.txt", "parsed.txt", "prompt.txt", "metadata.json"
_TAKEN = (errno.ENOTEMPTY, errno.EEXIST)
_NUMBERS = itertools.count()
_CHUNK = 1 << 20


@contextmanager
def workshop(root: Path) -> Iterator[str]:
    """Give a folder below the root of documents in which their folders are made; those of killed processes go."""
    root.mkdir(parents=True, exist_ok=True)
    for left in root.glob(f"{TEMPORARY}*"):
        with suppress(FileNotFoundError), _locked(left, fcntl.LOCK_EX | fcntl.LOCK_NB) as free:
            if free:
                shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=root))
    try:
        with _locked(folder, fcntl.LOCK_EX):
            yield str(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _locked(folder: Path, how: int) -> Iterator[bool]:
    """Hold a lock on a folder; its process holds it as long as it lives. Give whether it could be had."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, how)
        except BlockingIOError:
            yield False
            return
        yield True
    finally:
        os.close(handle)


def place(root: str, folder: str, shop: str, files: Mapping[str, bytes]) -> None:
    """Make the folder of a document, below `root`, that holds just these files.

    One that is there with the same files is left; another one, that no row of the index vouches for or that is not as
    its row says, is replaced.
    """
    made = f"{shop}/{os.getpid()}-{next(_NUMBERS)}"
    os.mkdir(made)  # noqa: PTH102  called for every document, as are those below
    for name, data in files.items():
        _write(f"{made}/{name}", data)
    target = f"{root}/{folder}"
    if not _moved(made, target):
        if not holds(target, files):
            with suppress(FileNotFoundError):
                os.rename(target, f"{made}-before")  # noqa: PTH104
            _moved(made, target)  # else another process of the run was quicker
        shutil.rmtree(made, ignore_errors=True)


def _write(path: str, data: bytes) -> None:
    try:
        with io.FileIO(path, "x") as file:
            left = memoryview(data)
            while left:
                left = left[file.write(left) :]
    except OSError as error:
        if error.errno in DISK_FULL and error.filename is None:
            raise OSError(error.errno, error.strerror, path) from None  # a write does not know its file
        raise


def _moved(made: str, target: str) -> bool:
    """Return whether a folder could be given its final name: False if that is taken."""
    for _ in range(2):
        try:
            os.rename(made, target)  # noqa: PTH104
            return True
        except FileNotFoundError:
            os.makedirs(os.path.dirname(target), exist_ok=True)  # noqa: PTH103, PTH120
        except OSError as error:
            if error.errno not in _TAKEN:
                raise
            return False
    raise FileNotFoundError(errno.ENOENT, "the folder is gone while it was made", made)


def holds(folder: str, files: Mapping[str, bytes]) -> bool:
    """Return whether a folder holds these files, and no others."""
    try:
        return set(os.listdir(folder)) == set(files) and all(read(f"{folder}/{n}") == d for n, d in files.items())  # noqa: PTH208
    except OSError:
        return False


def is_whole(root: str, row: Mapping[str, Any], memory: Files) -> bool:
    """Return whether the folder of a row of the index has all its files, and the response's bytes in both of them."""
    folder = f"{root}/{row['doc_dir']}"
    others = [METADATA, PROMPT] if row["prompt_path"] is not None else [METADATA]
    try:
        texts = {memory.file(f"{folder}/{name}")[0] for name in (RAW, PARSED)}
        return texts == {row["content_hash"]} and all(os.path.isfile(f"{folder}/{n}") for n in others)  # noqa: PTH113
    except PermissionError:
        raise
    except OSError:
        return False


def settle() -> None:
    """Make what was written durable, at once for all folders: a call for each would take a hundred times as long."""
    os.sync()


def check(root: Path, row: Mapping[str, Any]) -> dict[str, bool]:
    """Return how the folder of a document stands to its row in the index."""
    folder = root / row["doc_dir"]
    digest = _digest(folder / RAW)
    return {
        "dir_exists": folder.is_dir(),
        "missing_raw": digest is None,
        "missing_parsed": not (folder / PARSED).is_file(),
        "missing_prompt": row["prompt_path"] is not None and not (folder / PROMPT).is_file(),
        "hash_mismatch": digest is not None and digest != row["content_hash"],
    }


def _digest(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None

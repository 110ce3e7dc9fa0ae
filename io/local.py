"""A local folder as a store: temporary files beside their targets, synced, then linked or renamed."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from stat import S_ISREG
from typing import IO

from resplice.io.store import Head, Place
from resplice.transforms.records import DISK_FULL

TEMPORARY = ".resplice-tmp-"
_CHUNK = 1 << 20


class LocalBlob:
    """An open local file."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        stat = os.fstat(self._fd)
        self.size = stat.st_size
        self.token = local_token(stat)

    def read_at(self, offset: int, length: int) -> bytes:
        """Return up to `length` bytes from `offset`; fewer only at the end."""
        return os.pread(self._fd, length, offset)

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


def local_token(stat: os.stat_result) -> str:
    """Return the version token of a local file: size, mtime_ns, ctime_ns and inode."""
    return f"{stat.st_size}-{stat.st_mtime_ns}-{stat.st_ctime_ns}-{stat.st_ino}"


class LocalStore:
    """A local folder. Writes go to a temporary file beside the target, are synced, then linked or renamed."""

    connections = 1

    def __init__(self, root: str) -> None:
        self.url = root
        self._root = Path(root)

    def list(self, prefix: str = "") -> Iterator[Head]:
        """Yield the files whose relative path begins with `prefix`, sorted by it."""
        folder, _, _ = prefix.rpartition("/")
        for key in sorted(self._keys(folder)):
            if key.startswith(prefix) and (head := self.head(key)) is not None:
                yield head

    def folders(self, prefix: str) -> Iterator[str]:
        """Yield the names of the folders directly below one."""
        folder = self._root / prefix
        yield from sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else ()

    def _keys(self, folder: str) -> Iterator[str]:
        for path, folders, files in os.walk(self._root / folder):
            folders.sort()
            inside = Path(path).relative_to(self._root).as_posix()
            start = "" if inside == "." else inside + "/"
            yield from (start + name for name in files if not name.startswith(TEMPORARY))

    def head(self, key: str) -> Head | None:
        """Return size and token of a file, or None."""
        try:
            stat = (self._root / key).stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                return None
            raise
        if not S_ISREG(stat.st_mode):
            return None
        return Head(key, stat.st_size, local_token(stat))

    def open(self, key: str, head: Head | None = None) -> LocalBlob:
        """Open a file for reading at offsets; a folder is no object."""
        if self.head(key) is None:
            raise FileNotFoundError(errno.ENOENT, "no such object", str(self._root / key))
        return LocalBlob(self._root / key)

    def read(self, key: str) -> bytes:
        """Return a whole file."""
        return (self._root / key).read_bytes()

    def create(self, key: str, data: bytes | Path) -> bool:
        """Write a file only if there is none: a hard link is atomic and never overwrites."""
        target = self._root / key
        if target.exists():
            return False
        with self._temporary(target, data) as temporary:
            try:
                os.link(temporary, target)
            except FileExistsError:
                return False
        sync_folder(target.parent)
        return True

    def replace(self, key: str, data: bytes | Path, token: str | None, lasting: bool = True) -> bool:
        """Write a file if its version is still `token`, under a lock on its folder.

        Not `lasting`: a loss of power may take its name away again, but never leave it torn.
        """
        target = self._root / key
        with self._temporary(target, data) as temporary, _locked(target.parent):
            if token is not None:
                head = self.head(key)
                if (head.token if head else "") != token or target.is_dir():
                    return False
            temporary.replace(target)
        if lasting:
            sync_folder(target.parent)
        return True

    def copy(self, source: str, key: str) -> None:
        """Create `key` as a hard link to `source`, or as a copy where links are not possible."""
        target = self._root / key
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(self._root / source, target)
        except FileExistsError:
            return
        except OSError:
            self.create(key, self._root / source)

    def delete(self, key: str) -> None:
        """Remove a file."""
        (self._root / key).unlink(missing_ok=True)

    @contextlib.contextmanager
    def _temporary(self, target: Path, data: bytes | Path) -> Iterator[Path]:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=TEMPORARY, dir=target.parent)
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                _fill(file, data)
                file.flush()
                os.fchmod(file.fileno(), 0o666 & ~_UMASK)
                os.fsync(file.fileno())
            yield temporary
        except OSError as error:
            if error.errno in DISK_FULL and error.filename is None:
                raise OSError(error.errno, error.strerror, str(target)) from None  # a write does not know its file
            raise
        finally:
            temporary.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


_UMASK = _umask()


def _fill(file: IO[bytes], data: bytes | Path) -> None:
    if isinstance(data, bytes):
        file.write(data)
    else:
        with data.open("rb") as source:
            shutil.copyfileobj(source, file, _CHUNK)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def prune(place: Place, folder: str) -> None:
    """Remove the empty folders below a folder of a local place, and itself; an object store has none."""
    if place.local and not place.scratch:
        for path, _, _ in os.walk(place.path(folder), topdown=False):
            with contextlib.suppress(OSError):  # it holds something, or another process was faster
                Path(path).rmdir()

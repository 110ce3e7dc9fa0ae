"""What a list of files and folders names: the audio files, in sorted order, each path once.

A folder is walked for files of `paths.EXTENSIONS`, junk dropped, links followed but never round in a circle. Whatever
else is listed is a file, of whatever extension, whether it exists or not: what becomes of it is told of each by itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from resplice.io.store import Place
from resplice.transforms import paths
from resplice.transforms.paths import S3
from resplice.transforms.records import UserError
from resplice.transforms.settings import StoreOptions

_Id = tuple[int, int]


@dataclass(frozen=True, order=True)
class Listed:
    """One path: `key` is its normalised text, its identity; `path` the text that opens it (`paths.unescaped`)."""

    key: str
    path: str


@dataclass(frozen=True)
class Walked:
    """The distinct paths, in the order in which they were given; `repeated` counts those that came again."""

    files: tuple[Listed, ...]
    repeated: int = 0


def listed(file: str | Path) -> list[str]:
    """Return the native paths that a paths file lists, relative ones below its folder. UserError if it is unreadable.

    Its syntax: `paths.read`.
    """
    source = Path(file)
    try:
        data = source.read_bytes()
    except OSError as error:
        raise UserError(f"{source} cannot be read: {error.strerror}; give a text file, one path a line") from None
    folder = source.absolute().parent
    texts = paths.read(data, str(source))
    return [native if paths.is_absolute(native) else str(folder / native) for native in map(paths.unescaped, texts)]


def walk(given: Iterable[str], options: StoreOptions | None = None) -> Walked:
    """Return the distinct audio paths that native files and folders name, relative ones below the current folder.

    UserError for a folder that cannot be listed: what is in it would be lost without a word.
    """
    found: dict[str, Listed] = {}
    count = 0
    for root in given:
        for native in _expanded(root, options or StoreOptions()):
            text = paths.escaped(native)
            key = paths.normal(text)
            found.setdefault(key, Listed(key, text))
            count += 1
    return Walked(tuple(found.values()), count - len(found))


def _expanded(given: str, options: StoreOptions) -> Iterator[str]:
    if given.startswith(S3):
        yield from _objects(given, options)
        return
    path = absolute(given)
    try:
        folder = os.path.isdir(path)  # noqa: PTH112 - a hundred thousand of them
    except ValueError:  # a NUL in the name
        folder = False
    yield from sorted(_files(path, ())) if folder else [path]


def absolute(given: str) -> str:
    """Return a native path from the root; `..` takes back the part before it, as the words say."""
    if paths.is_absolute(given) and not given.startswith("/"):
        return given
    path = os.path.abspath(given)  # noqa: PTH100 - pathlib keeps ..
    return "/" + path.lstrip("/")


def located(path: str, options: StoreOptions) -> tuple[Place, str]:
    """Return the root and the key below it by which a store opens the text of an absolute path."""
    native = paths.unescaped(path)
    if not native.startswith(S3):
        return Place("/"), native.removeprefix("/")
    bucket, _, key = native[len(S3) :].partition("/")
    return Place(f"{S3}{bucket}", options=options), key


def exists(text: str, options: StoreOptions) -> bool:
    """Return whether there is a file or an object of a text, relative to the current folder."""
    place, key = located(paths.escaped(absolute(paths.unescaped(text))), options)
    try:
        return place.store.head(key) is not None
    except (OSError, ValueError):  # a name that no file can have
        return False


def within(path: str, options: StoreOptions) -> tuple[Place, str]:
    """Return the folder of a native path, relative to the current one, as a root, and the name in it."""
    folder, _, name = absolute(path).rpartition("/")
    return Place(folder or "/", options=options if path.startswith(S3) else StoreOptions()), name


def _files(folder: str, above: tuple[_Id, ...]) -> Iterator[str]:
    try:
        with os.scandir(folder) as entries:
            there = list(entries)
        stat = os.stat(folder)  # noqa: PTH116
    except FileNotFoundError:  # it went while its parent was read
        return
    except OSError as error:
        raise UserError(f"{folder} cannot be listed: {error.strerror}; make it readable, or leave it out") from None
    here = stat.st_dev, stat.st_ino
    if here in above:
        return
    for entry in there:
        if paths.is_junk(entry.name):
            continue
        if _is_folder(entry):
            yield from _files(entry.path, (*above, here))
        elif paths.is_audio(entry.name):
            yield entry.path


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, for one
        return False


def _objects(url: str, options: StoreOptions) -> Iterator[str]:
    """Yield the audio objects below a URL, or the URL itself if it names one, or nothing that is there."""
    bucket, _, key = url[len(S3) :].partition("/")
    if paths.is_audio(key.rpartition("/")[2]):
        yield url
        return
    prefix = key.rstrip("/") + "/" if key.strip("/") else ""
    heads = Place(f"{S3}{bucket}", options=options).store.list(prefix)
    below = [head.key for head in heads if paths.is_audio(head.key[len(prefix) :])]
    if below or url.endswith("/") or not prefix:
        yield from (f"{S3}{bucket}/{name}" for name in below)
    else:
        yield url

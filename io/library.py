"""A library of tracks on disk or in a store: meta.json, and vectors/ beside it.

A vector is written before the entry that names it, meta.json is replaced as a whole against the version that was read:
a process that is killed leaves a library that is right, two that collide lose no entry. What is no library is never
replaced.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resplice.io import conditional, documents
from resplice.io.store import Place, content
from resplice.io.walk import absolute, located, within
from resplice.transforms.library import BYTES, Entry, Identity, Library, reference, written
from resplice.transforms.paths import S3, escaped
from resplice.transforms.records import Damage, UserError
from resplice.transforms.settings import StoreOptions


@dataclass(frozen=True)
class LibraryFile:
    """One meta.json. Picklable; any process may write vectors, and enter them. `folder`: its text, as it was given."""

    place: Place
    name: str
    folder: str = ""

    @classmethod
    def at(cls, path: str, options: StoreOptions | None = None, scratch: str = "") -> LibraryFile:
        """Return the one at a native path or URL, relative to the current folder; `scratch`: of a dry run.

        UserError for a folder.
        """
        real = path if path.startswith(S3) else os.path.realpath(path)  # a link to it stays a link
        if Path(real).is_dir():
            raise UserError(f"--library {path} is a folder; name the file in it, e.g. meta.json")
        place, key = within(real, options or StoreOptions())
        given = path if path.startswith(S3) else absolute(path)
        return cls(replace(place, scratch=scratch), key, escaped(given.rpartition("/")[0]))

    @property
    def where(self) -> str:
        """Return its path, for people."""
        return self.place.path(self.name)

    def exists(self) -> bool:
        """Return whether there is a file."""
        return self.place.store.head(self.name) is not None

    def read(self) -> Library:
        """Return what it holds; an empty library if there is no file. UserError (exit 2) for what is no library, or
        cannot be read.
        """
        try:
            return self._parsed(content(self.place.store, self.name)[0] if self.exists() else None)
        except OSError as error:
            raise UserError(f"{self.where} cannot be read: {error.strerror or error}; it is left as it is") from None

    def _parsed(self, data: bytes | None) -> Library:
        if data is None:
            return Library({}, self.folder)
        known, library = _LAST.get((self.where, self.folder), (b"", None))
        if library is None or known != data:
            try:
                library = Library.of(documents.lenient(data, unique=True), self.folder)
            except Damage as damage:
                raise UserError(
                    f"{self.where} is no library of tracks ({damage}); it is left as it is: restore it from a backup, "
                    "or name another file"
                ) from None
            _LAST[self.where, self.folder] = data, library
        return library

    def put(self, identity: Identity, vectors: NDArray[np.float32]) -> int:
        """Write the vector of an identity, shape (dim,), or (windows, dim), finite; return the bytes of its file.

        The same vector has the same bytes; what is there already, and whole, is left.
        """
        data = io.BytesIO()
        np.lib.format.write_array(data, np.ascontiguousarray(vectors, "<f4"), version=(1, 0), allow_pickle=False)
        store = self.place.store
        if content(store, identity.ref)[0] != data.getvalue():
            store.replace(identity.ref, data.getvalue(), None)
        return len(data.getvalue())

    def vector(self, entry: Entry) -> NDArray[np.float32]:
        """Return the vector that an entry names. FileNotFoundError without one, ValueError for one that is broken."""
        place, key = self._vector(reference(entry))
        return np.load(io.BytesIO(place.store.read(key)), allow_pickle=False)  # type: ignore[no-any-return]

    def has(self, entry: Entry) -> bool:
        """Return whether the file of an entry's vector is there, not empty, and as long as the entry says, if so."""
        if not (ref := reference(entry)):
            return False
        place, key = self._vector(ref)
        try:
            head = place.store.head(key)
        except (OSError, ValueError):  # a name that no file can have
            return False
        size = entry.get(BYTES)
        return head is not None and head.size > 0 and (type(size) is not int or size == head.size)

    def _vector(self, ref: str) -> tuple[Place, str]:
        """Return where a reference points, relative to meta.json; `\\` separates as `/` does."""
        ref = ref.replace("\\", "/")
        return located(ref, self.place.options) if ref.startswith(("/", "s3://")) else (self.place, ref)

    def enter(self, changes: Mapping[str, Mapping[str, Any]]) -> None:
        """Enter vectors that are written: normalised path → `Identity.fields`. A file is made if there is none."""
        if changes:
            self.update(lambda library: library.entered(changes))

    def update(self, change: Callable[[Library], Library]) -> None:
        """Replace what the file holds by what `change` makes of it, unless that is the same; no other process's change
        is lost. UserError (exit 2), and nothing is written, for what is no library.
        """

        def changed(before: bytes) -> bytes:
            library = self._parsed(before if before or self.exists() else None)
            new = change(library)
            if new.document == library.document and before:
                return before
            data = written(new)
            _LAST[self.where, self.folder] = data, new
            return data

        conditional.update(self.place.store, self.name, changed)


_LAST: dict[tuple[str, str], tuple[bytes, Library]] = {}
"""The last state of each library that this process read or wrote: between two changes of its own none is read anew."""

"""A library of tracks: what meta.json holds, which entry is of which vector, and entering vectors without a double.

`{"tracks": {path: entry, …}, …}`. Of an entry the fields of OWN are resplice's, all others are the user's and stay.
An entry is of an identity if CONTENT, EMBEDDER and WINDOWS say so; one that lacks a field is not told stale by it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from resplice.transforms import provenance
from resplice.transforms.paths import below, normal
from resplice.transforms.records import Damage

OWN = REF, CONTENT, EMBEDDER, WINDOWS, BYTES, MODEL, DIM = tuple(
    f"embedding{name}" for name in ("", "_sha256", "_digest", "_windows", "_bytes", "_model", "_dim")
)
"""The vector's file relative to meta.json; of the audio's bytes the SHA-256; of the embedder the digest; the windows;
the bytes of the vector's file; the embedder's name; numbers in a vector.
"""
TRACKS, ARCHIVED = "tracks", "archived_tracks"
FOLDER = "vectors"
Entry = Mapping[str, Any]


@dataclass(frozen=True)
class Identity:
    """What a vector is of: the SHA-256 of the audio's bytes, the digest of the embedder, the windows as a setting."""

    content: str
    embedder: str
    windows: str

    @property
    def ref(self) -> str:
        """Return where the library keeps the vector: a name of its own for each identity, whatever the file's stem."""
        return (
            f"{FOLDER}/{provenance.sha256(provenance.line([self.content, self.embedder, self.windows]).encode())}.npy"
        )

    def fields(self, size: int, model: str, dim: int) -> dict[str, Any]:
        """Return the fields of an entry of this identity: the vector file has `size` bytes, a vector `dim` numbers."""
        values = self.ref, self.content, self.embedder, self.windows, size, model, dim
        return dict(zip(OWN, values, strict=True))

    def of(self, entry: Entry) -> bool:
        """Return whether an entry says that it is of this identity, and of the vector that was made of it."""
        own = self.ref, self.content, self.embedder, self.windows
        return own == tuple(entry.get(name) for name in (REF, CONTENT, EMBEDDER, WINDOWS))


def reference(entry: Entry) -> str:
    """Return the reference of an entry to its vector, "" if it has none."""
    ref = entry.get(REF)
    return ref if isinstance(ref, str) else ""


@dataclass(frozen=True)
class Library:
    """What meta.json holds; never changed in place. `folder`: the text of that which relative keys are below."""

    document: Mapping[str, Any]
    folder: str = ""

    @classmethod
    def of(cls, document: Any, folder: str = "") -> Library:
        """Return the library that a JSON value is; {} is one without tracks. Raises Damage for what is none."""
        if not isinstance(document, dict):
            raise Damage("not_a_library", f"it holds a {type(document).__name__}, not an object")
        if document and not isinstance(document.get(TRACKS), dict):
            raise Damage("not_a_library", f"it has no object {TRACKS!r}")
        for key, entry in document.get(TRACKS, {}).items():
            if not isinstance(entry, dict):
                raise Damage("not_a_library", f"{TRACKS}[{key!r}] holds a {type(entry).__name__}, not an object")
        return cls(document, folder)

    @property
    def tracks(self) -> Mapping[str, Entry]:
        """Return the entries by the spelling of their path."""
        return self.document.get(TRACKS, {})  # type: ignore[no-any-return]

    @cached_property
    def spellings(self) -> Mapping[str, tuple[str, ...]]:
        """Return the keys of each path, by its normalised text."""
        found: dict[str, tuple[str, ...]] = {}
        for key in self.tracks:
            path = self.path(key)
            found[path] = (*found.get(path, ()), key)
        return found

    def text(self, key: str) -> str:
        """Return the text of the path that a key names, in its spelling."""
        return below(self.folder, key)

    def path(self, key: str) -> str:
        """Return the normalised path that a key names."""
        return normal(self.text(key))

    def entries(self, path: str) -> list[Entry]:
        """Return the entries of a path, in the order of the file."""
        return [self.tracks[key] for key in self.spellings.get(self.path(path), ())]

    def entered(self, changes: Mapping[str, Mapping[str, Any]]) -> Library:
        """Return the library with the own fields of some normalised paths replaced: under every spelling that a path
        has, under the path itself if it has none.
        """
        tracks = dict(self.tracks)
        for path, fields in changes.items():
            for key in self.spellings.get(self.path(path), (path,)):
                theirs = {name: value for name, value in tracks.get(key, {}).items() if name not in OWN}
                tracks[key] = {**theirs, **fields}
        new = replace(self, document={**self.document, TRACKS: tracks})
        added = {self.path(path): (path,) for path in changes}
        spellings = {**added, **self.spellings}
        new.__dict__["spellings"] = spellings  # what cached_property would find, without reading every key again
        return new

    def without(self, keys: Iterable[str], archive: bool = False) -> Library:
        """Return the library without some keys; `archive`: they are kept beside the tracks, under ARCHIVED."""
        gone = {key: self.tracks[key] for key in keys if key in self.tracks}
        rest = {key: entry for key, entry in self.tracks.items() if key not in gone}
        kept = {ARCHIVED: {**self.document.get(ARCHIVED, {}), **gone}} if archive and gone else {}
        return replace(self, document={**self.document, TRACKS: rest, **kept})

    def restored(self, entries: Mapping[str, Entry]) -> Library:
        """Return the library with entries that were taken out of it; a key that is there again is left as it is."""
        archived = {key: entry for key, entry in self.document.get(ARCHIVED, {}).items() if key not in entries}
        document = {name: value for name, value in self.document.items() if name != ARCHIVED}
        back = {TRACKS: {**entries, **self.tracks}, **({ARCHIVED: archived} if archived else {})}
        return replace(self, document={**document, **back})


_LINE = json.JSONEncoder(sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def written(library: Library) -> bytes:
    """Return meta.json: strict JSON, sorted, a track a line, so that two states can be compared line by line."""
    document = {TRACKS: {}, **library.document}
    parts = [f"{_LINE.encode(name)}: {_value(name, document[name])}" for name in sorted(document)]
    return provenance.halves_escaped("{\n" + ",\n".join(parts) + "\n}\n").encode()


def _value(name: str, value: Any) -> str:
    if name not in (TRACKS, ARCHIVED) or not value:
        return _LINE.encode(value)
    lines = (f"{_LINE.encode(key)}: {_LINE.encode(value[key])}" for key in sorted(value))
    return "{\n" + ",\n".join(lines) + "\n}"

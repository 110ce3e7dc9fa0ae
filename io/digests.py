"""Digests that are remembered under version tokens, so that what has not changed is not read again.

One JSON document {name: [token, SHA-256]}. The same token saves reading, another one means: hash again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from resplice.io import conditional, documents, sidecars
from resplice.io.store import Store, content
from resplice.io.walk import Listed, located
from resplice.transforms import provenance
from resplice.transforms.records import Damage
from resplice.transforms.settings import StoreOptions

MEMORY = "digests.json"
"""Where a workspace keeps the digests of audio files, by their key: for embedding and the gap audit alike."""

_AT_ONCE = 32


class Digests:
    """The digests of named objects under their tokens."""

    def __init__(self, store: Store, key: str) -> None:
        self._store, self._key = store, key
        self._known = _entries(content(store, key)[0])
        self._learnt: dict[str, list[str] | None] = {}

    def of(self, name: str) -> dict[str, str]:
        """Return what is known of an object: token → SHA-256."""
        return dict([self._known[name]]) if name in self._known else {}

    def version(self, name: str) -> tuple[str, int]:
        """Return the version token of an object whose digest is known, and the bytes that it says it has."""
        token = next(iter(self.of(name)), "")
        size = token.partition("-")[0]
        return token, int(size) if size.isdigit() else 0

    def learn(self, name: str, token: str, sha256: str | None) -> None:
        """Remember what an object is; None: that it is gone."""
        if sha256 is None:
            self._known.pop(name, None)
            self._learnt[name] = None
        elif self._known.get(name) != [token, sha256]:
            self._known[name] = self._learnt[name] = [token, sha256]

    def save(self) -> None:
        """Keep what was learnt for the next process, beside what others learnt meanwhile."""

        def merged(before: bytes) -> bytes:
            known: dict[str, list[str] | None] = {**_entries(before), **self._learnt}
            return provenance.document({name: entry for name, entry in known.items() if entry is not None})

        if self._learnt:
            conditional.update(self._store, self._key, merged)
            self._learnt = {}


def _entries(data: bytes) -> dict[str, list[str]]:
    """Return the entries of a document; what is none is only hashed again."""
    try:
        value = documents.parse(data)
    except Damage:
        return {}
    return {name: entry for name, entry in value.items() if _is_entry(entry)} if isinstance(value, dict) else {}


def _is_entry(entry: object) -> bool:
    return isinstance(entry, list) and len(entry) == 2 and all(isinstance(text, str) for text in entry)


def hashed(
    files: Sequence[Listed], memory: Digests, options: StoreOptions, workers: int = 1,
    told: Callable[[int], None] = lambda done: None,
) -> dict[str, str | None]:  # fmt: skip
    """Return the SHA-256 of each file's bytes by its key; None for one that cannot be read.

    Only what has another token than when it was remembered is read; `memory` learns it, and is not saved.
    """
    found: dict[str, str | None] = {}
    parts = [files[start : start + _AT_ONCE] for start in range(0, len(files), _AT_ONCE)]
    with ThreadPoolExecutor(workers) as pool:  # hashlib lets other threads work
        for part, seen in zip(parts, pool.map(lambda part: _looked(part, memory, options), parts), strict=True):
            for file, (sha256, token) in zip(part, seen, strict=True):
                found[file.key] = sha256
                memory.learn(file.key, token, sha256)
            told(len(found))
    return found


def _looked(files: Sequence[Listed], memory: Digests, options: StoreOptions) -> list[tuple[str | None, str]]:
    return [look(file, memory.of(file.key), options) for file in files]


def taken(store: Store, key: str, known: Mapping[str, str]) -> tuple[str, str]:
    """Return SHA-256 and token of an object, which is read unless `known` (token → SHA-256) has its token."""
    if known and (head := store.head(key)) is not None and head.token in known:
        return known[head.token], head.token
    return sidecars.hashed(store, key)


def look(file: Listed, known: Mapping[str, str], options: StoreOptions) -> tuple[str | None, str]:
    """Return SHA-256 and token of a file, from `known` (token → SHA-256) if it can be; None if it cannot be read."""
    place, key = located(file.path, options)
    try:
        return taken(place.store, key, known)
    except (OSError, ValueError):
        return None, ""

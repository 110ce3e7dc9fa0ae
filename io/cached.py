"""Results that are kept under a key that says all that they depend on: each entry a file, written whole, checked.

An entry holds its key and the digest of its content: one that is torn, changed or of another key is no entry.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from resplice.io import documents
from resplice.io.store import Place
from resplice.transforms import provenance
from resplice.transforms.records import Damage


@dataclass(frozen=True)
class Cache:
    """The entries below a prefix of a place. Picklable."""

    place: Place
    prefix: str = ""

    def get(self, key: Mapping[str, Any]) -> Any:
        """Return the result of a key, None if there is no whole entry of it."""
        try:
            entry = documents.parse(self.place.store.read(self._name(key)))
        except (FileNotFoundError, NotADirectoryError, Damage):
            return None
        if not isinstance(entry, dict) or entry.get("key") != provenance.plain(dict(key)):
            return None
        result = entry.get("result")
        return result if entry.get("sha256") == _digest(result) else None

    def put(self, key: Mapping[str, Any], result: Any) -> None:
        """Keep the result of a key (JSON-able)."""
        entry = {"key": dict(key), "result": result, "sha256": _digest(result)}
        self.place.store.replace(self._name(key), (provenance.line(entry) + "\n").encode(), None)

    def _name(self, key: Mapping[str, Any]) -> str:
        return f"{self.prefix}{provenance.sha256(provenance.line(dict(key)).encode())}.json"


def _digest(result: Any) -> str:
    return provenance.sha256(provenance.line(result).encode())

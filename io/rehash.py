"""What a sidecar says of files and folders, against what is there now; every digest is taken anew."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resplice.io import documents, sidecars
from resplice.io.store import Place
from resplice.transforms.paths import unescaped
from resplice.transforms.records import Damage, UserError
from resplice.transforms.settings import StoreOptions
from resplice.transforms.sidecar import entries as entries
from resplice.transforms.sidecar import flaw

_COMPARED = ("exists", "kind", "bytes", "files", "sha256", "tree_sha256")


@dataclass(frozen=True)
class Difference:
    """One field in which a file or folder is not what its sidecar says; `name` is its place in the sidecar."""

    name: str
    path: str
    field: str
    said: Any
    found: Any


def load(path: str, options: StoreOptions) -> dict[str, Any]:
    """Return a sidecar. UserError (exit 2) if the file is none."""
    try:
        place, key = _object(path, options)
        value = documents.parse(Path(path).read_bytes() if place.local else place.store.read(key))
        wrong = flaw(value)
    except FileNotFoundError:
        raise UserError(f"there is no file {path}; give a .manifest.json") from None
    except (OSError, ValueError, Damage) as error:
        raise UserError(f"{path} is no sidecar that can be read: {error}") from None
    if wrong:
        raise UserError(f"{path} is no sidecar: {wrong}; give a .manifest.json")
    return value  # type: ignore[no-any-return]


def described_now(path: str, options: StoreOptions, without: Sequence[str] = (), ours: bool = False) -> dict[str, Any]:
    """Return the description of an object, a local file or a folder (`without` what is not of it, `ours` if
    resplice writes it) as it is now; what cannot be read has `error` for a kind.
    """
    place, key = _object(path, options)
    if not place.local:
        found = sidecars.described(place, key)
        return {name: found[name] for name in found if name != "path"}
    there = Path(path)
    if not os.path.lexists(there):
        there = Path(unescaped(path))  # a name that is not UTF-8, as a list of paths writes it
    try:
        if there.is_dir():
            return sidecars.described_folder(there, without=without, ours=ours)
        if not there.is_file():
            return {"exists": there.exists(), "kind": "other" if there.exists() else "missing"}
        return {"exists": True, "kind": "file", "bytes": there.stat().st_size, "sha256": sidecars.file_digest(there)}
    except (OSError, ValueError) as error:
        return {"exists": True, "kind": f"error: {error}"}


def _object(path: str, options: StoreOptions) -> tuple[Place, str]:
    """Return the root that holds what a path names, and its name there."""
    root, _, name = path.rpartition("/")
    return Place(root if "://" in path else ".", options=options), name


def alike(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Return whether two descriptions tell of the same bytes, whatever their paths."""
    return all(one.get(field) == other.get(field) for field in (*_COMPARED, "without"))


def differences(name: str, said: dict[str, Any], options: StoreOptions) -> list[Difference]:
    """Return where a file or folder differs from its description; one that is gone, or of another kind, only there."""
    now = described_now(said["path"], options, said.get("without", ()), name.startswith("outputs."))
    wrong = [
        Difference(name, said["path"], field, said[field], now.get(field))
        for field in _COMPARED
        if field in said and said[field] != now.get(field)
    ]
    return wrong[:1] if wrong and wrong[0].field in ("exists", "kind") else wrong

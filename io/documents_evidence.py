"""The sidecar of an index of documents and their folders: `DOCS_ROOT.manifest.json`.

A document has no sidecar of its own: its files have their lines in the tree of the folder.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from resplice.io import sidecars
from resplice.io.backfill import Places
from resplice.io.context import Context
from resplice.io.index import Index
from resplice.io.local import LocalStore
from resplice.io.remembered import Memory

KIND = "documents"


def write(
    context: Context, given: Places, csvs: Iterable[Path], bad_list: Path, stats: Mapping[str, Any],
    refused: Mapping[str, int],
) -> None:  # fmt: skip
    """Write the sidecar, unless the one that is there tells the same; what had not changed is not read again."""
    docs, made = Path(given.docs), _made(context, given, bad_list)
    memory = Memory(context.workspace, KIND, given.docs)
    inputs = {
        "csvs": [_file(path, memory) for path in csvs],
        "gen_roots": [sidecars.described_folder(Path(root), memory, _below(root, made)) for root in given.roots],
    }
    outputs = {
        "documents": sidecars.described_folder(docs, memory, _below(given.docs, made), ours=True),
        "index": _index(given.db, memory),
        "bad_list": _file(bad_list, memory),
    }
    memory.keep()
    store = LocalStore(str(docs.parent))
    told = sidecars.content(context, KIND, stats=stats, inputs=inputs, outputs=outputs, refused_by_reason=dict(refused))
    sidecars.renew(store, docs.name, told)


def _made(context: Context, given: Places, bad_list: Path) -> list[str]:
    """Return what a backfill writes: where it lies below a folder that is described, it is no part of it."""
    index = Index(given.db).file
    sqlite = [f"{index}{suffix}" for suffix in ("", "-journal", "-shm", "-wal")] if index else []
    work = [context.workspace.url] if context.workspace.local else []
    return [given.docs, given.docs + sidecars.SUFFIX, str(bad_list), *sqlite, *work]


def _below(root: str, paths: Iterable[str]) -> list[str]:
    """Return the relative paths of those that lie below a folder, as they are named and as their links lead."""
    pairs = [(real(root), real(path)) for real in (os.path.abspath, os.path.realpath) for path in paths]
    return sorted({os.path.relpath(path, top) for top, path in pairs if path.startswith(f"{top.rstrip('/')}/")})


def _file(path: Path, memory: Memory) -> dict[str, Any]:
    if not path.is_file():
        return {"path": str(path), "exists": False, "kind": "missing"}
    sha256, stat = memory.file(str(path))
    return {"path": str(path), "exists": True, "kind": "file", "sha256": sha256, "bytes": stat.st_size}


def _index(db: str, memory: Memory) -> Any:
    """Return the description of an index that is a file, else where it is; it holds no password."""
    url = sa.make_url(db)
    if url.get_backend_name() == "sqlite" and url.database:
        return _file(Path(url.database), memory)
    return url.render_as_string(hide_password=True)

"""The sidecar of a book: `AUDIO_DIR.manifest.json`, a line for the text and the audio of each valid chunk.

Of books that share a folder each has its own, `AUDIO_DIR.BOOK.manifest.json`.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from resplice.io import sidecars
from resplice.io.books import Book
from resplice.io.context import Context
from resplice.io.local import LocalStore
from resplice.io.pipeline_json import PipelineJson, State
from resplice.io.remembered import Memory
from resplice.io.store import Place
from resplice.transforms import bookstate, provenance

KIND = "book"
_LONGEST = 200  # bytes of a name, which leaves room for the suffix


def write(context: Context, path: PipelineJson, state: State, books: Sequence[Book]) -> None:
    """Write the sidecars of books; not of one that has no valid chunk, or a sidecar that tells the same."""
    used = Counter(os.path.realpath(path.absolute(name)) for name in bookstate.folders(state).values())
    for book in books:
        folder = path.absolute(book.audio_dir)
        _write(context, path, book, folder, shared=used[os.path.realpath(folder)] > 1)


def _write(context: Context, path: PipelineJson, book: Book, folder: Path, shared: bool) -> None:
    memory = Memory(context.workspace, KIND, str(path.path), book.file_id)
    lines = list(_lines(path, book, memory))
    memory.keep()
    if not lines:
        return
    inputs = {"texts": [text for text, _ in lines]}
    outputs = {"chunks": [audio for _, audio in lines]}
    store = LocalStore(str(folder.parent))
    stats = {"file_id": book.file_id, "chunks": len(book.texts), "valid": book.valid}
    name = _name(f"{folder.name}.{quote(book.file_id, ' ')}" if shared else folder.name)
    sidecars.renew(store, name, sidecars.content(context, KIND, stats=stats, inputs=inputs, outputs=outputs))
    if shared:
        _forget(store, folder.name, book.file_id)


def _name(name: str) -> str:
    if len(name.encode()) <= _LONGEST:
        return name
    return f"{name.encode()[:_LONGEST].decode(errors='ignore')}.{provenance.sha256(name.encode())[:16]}"


def _forget(store: LocalStore, name: str, file_id: str) -> None:
    """Remove the sidecar that a book had before another one came into its folder."""
    former = sidecars.read(Path(store.url) / f"{name}{sidecars.SUFFIX}")
    if former and former.get("stats", {}).get("file_id") == file_id:
        store.delete(name + sidecars.SUFFIX)


def _lines(path: PipelineJson, book: Book, memory: Memory) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Yield the text and the audio of each valid chunk."""
    for number, text in enumerate(book.texts, 1):
        row = book.rows.get(number)
        if number not in book.todo and row and isinstance(row.get("audio_path"), str):
            yield _described(Path(text.path), memory), _described(path.absolute(row["audio_path"]), memory)


def _described(file: Path, memory: Memory) -> dict[str, Any]:
    sha256, stat = memory.file(str(file))
    return sidecars.known(Place(str(file.parent)), file.name, sha256, stat.st_size)

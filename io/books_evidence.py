"""The sidecar of a book: `AUDIO_DIR.manifest.json`, a line for the text and the audio of each valid chunk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from resplice.io import sidecars
from resplice.io.books import Book
from resplice.io.context import Context
from resplice.io.local import LocalStore
from resplice.io.pipeline_json import PipelineJson
from resplice.io.remembered import Memory
from resplice.io.store import Place

KIND = "book"


def write(context: Context, path: PipelineJson, book: Book) -> None:
    """Write the sidecar of a book, unless it has no valid chunk, or one that tells the same."""
    memory = Memory(context.workspace, KIND, str(path.path), book.file_id)
    lines = list(_lines(path, book, memory))
    memory.keep()
    if not lines:
        return
    folder = path.absolute(book.audio_dir)
    inputs = {"texts": [text for text, _ in lines]}
    outputs = {"chunks": [audio for _, audio in lines]}
    store = LocalStore(str(folder.parent))
    stats = {"file_id": book.file_id, "chunks": len(book.texts), "valid": book.valid}
    sidecars.renew(store, folder.name, sidecars.content(context, KIND, stats=stats, inputs=inputs, outputs=outputs))


def _lines(path: PipelineJson, book: Book, memory: Memory) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Yield the text and the audio of each valid chunk."""
    for number, text in enumerate(book.texts, 1):
        row = book.rows.get(number)
        if number not in book.todo and row and isinstance(row.get("audio_path"), str):
            yield _described(Path(text.path), memory), _described(path.absolute(row["audio_path"]), memory)


def _described(file: Path, memory: Memory) -> dict[str, Any]:
    sha256, stat = memory.file(str(file))
    return sidecars.known(Place(str(file.parent)), file.name, sha256, stat.st_size)

"""CSV files in blocks of whole rows: one pass finds where the blocks are, later ones read a block alone."""

from __future__ import annotations

import codecs
import csv
import io
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from resplice.io.local import local_token
from resplice.transforms.documents import SOURCES, Layout, Row, is_text, layout
from resplice.transforms.records import Exit, UserError

BLOCK = 4000
"""Rows of a block."""
csv.field_size_limit(sys.maxsize)


@dataclass(frozen=True)
class Block:
    """Some rows of a CSV that follow one another: their bytes, the first one's index, and which row keys are repeated.

    `repeats` are (index of the row, how many rows before and with it have its key). `token` is the file's version.
    """

    layout: Layout
    path: str
    token: str
    first: int
    rows: int
    offset: int
    length: int
    repeats: tuple[tuple[int, int], ...] = ()

    @property
    def name(self) -> str:
        """Return what tells the block from all others; names sort in reading order."""
        return block_name(self.layout.source, self.first)


def block_name(source: int, index: int) -> str:
    """Return the name of the block that holds a row."""
    return f"{source}-{index // BLOCK:07d}"


def blocks(folder: Path, source: int, warn: Callable[[str], None]) -> Iterator[Block]:
    """Yield the blocks of a source's CSV; none, and a warning, if it is not there or holds nothing.

    UserError for a header without a needed column. Lines without any cell are no rows.
    """
    path = folder / SOURCES[source].csv
    if not path.is_file():
        warn(f"there is no {path}: it counts as empty")
        return
    token = local_token(path.stat())
    with path.open("rb") as file:
        lines = _Lines(file)
        rows = csv.reader(lines)
        header = next((cells for cells in rows if cells), None)
        if header is None:
            warn(f"{path} is empty")
            return
        yield from _cut(_layout(source, header, path), str(path), token, rows, lines)


def _layout(source: int, header: list[str], path: Path) -> Layout:
    try:
        return layout(source, header)
    except UserError:
        names = "".join(header)
        if "\0" not in names and is_text(names):
            raise
    with path.open("rb") as file:
        start = file.read(2)
    wide = ": UTF-16?" if b"\0" in start or start in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else ""
    raise UserError(f"{path} is not UTF-8 (it begins with {start.hex(' ')}{wide}): save it as UTF-8")


def _cut(plan: Layout, path: str, token: str, rows: Iterator[list[str]], lines: _Lines) -> Iterator[Block]:
    seen: dict[tuple[str, str], int] = defaultdict(int)
    task, timestamp = plan.places[0], plan.places[5]
    repeats: list[tuple[int, int]] = []
    index, first, offset = 0, 0, lines.offset
    for cells in rows:
        if not cells:
            continue
        width = len(cells)
        key = cells[task] if task < width else "", cells[timestamp] if timestamp < width else ""
        seen[key] += 1
        if seen[key] > 1:
            repeats.append((index, seen[key]))
        index += 1
        if index - first == BLOCK:
            yield Block(plan, path, token, first, BLOCK, offset, lines.offset - offset, tuple(repeats))
            first, offset, repeats = index, lines.offset, []
    if index > first:
        yield Block(plan, path, token, first, index - first, offset, lines.offset - offset, tuple(repeats))


def read(block: Block) -> Iterator[Row]:
    """Yield the rows of a block. UserError (exit 75) if the file is not the version any more that was cut."""
    with Path(block.path).open("rb") as file:
        file.seek(block.offset)
        data = file.read(block.length)
        if local_token(Path(block.path).stat()) != block.token:
            raise UserError(
                f"{block.path} changed while it was read; when it is written, run the same command again", Exit.AGAIN
            )
    repeats = dict(block.repeats)
    rows = (cells for cells in csv.reader(_text(io.BytesIO(data))) if cells)
    for index, cells in enumerate(rows, block.first):
        yield block.layout.row(index, cells, repeats.get(index, 1))


def _text(file: IO[bytes]) -> io.TextIOWrapper:
    """Return a file as text of which no byte is lost: line ends stay, what is not UTF-8 becomes lone surrogates."""
    return io.TextIOWrapper(file, "utf-8", "surrogateescape", newline="")


class _Lines:
    """The lines of a CSV file behind its byte order mark, and how many bytes of it the reader of rows has taken."""

    def __init__(self, file: IO[bytes]) -> None:
        mark = codecs.BOM_UTF8 if file.read(len(codecs.BOM_UTF8)) == codecs.BOM_UTF8 else b""
        file.seek(len(mark))
        self.offset = len(mark)
        self._text = _text(file)

    def __iter__(self) -> Iterator[str]:
        for line in self._text:
            self.offset += len(line) if line.isascii() else len(line.encode("utf-8", "surrogateescape"))
            yield line

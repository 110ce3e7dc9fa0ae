"""How commands print tables: plain text that no name of the corpus can turn into something else."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

WIDTH = 120
_NUMBERS = (
    "in",
    "done",
    "skipped",
    "refused",
    "count",
    "units",
    "number",
    "parent",
    "shards",
    "rows",
    "videos",
    "size",
)


def cell(value: object) -> str:
    """Return a value for people: None as `-`, characters that cannot be printed (but newlines) escaped."""
    text = "-" if value is None else str(value)
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], title: str = "") -> None:
    """Print a table on stdout, as wide as the terminal, 120 columns where there is none."""
    shown = Table(*columns, box=SIMPLE_HEAD, title=title or None, title_justify="left", pad_edge=False)
    for column, name in zip(shown.columns, columns, strict=True):
        column.overflow = "fold"
        column.justify = "right" if name in _NUMBERS else "left"
    for row in rows:
        shown.add_row(*map(cell, row))
    width = None if sys.stdout.isatty() else WIDTH
    console = Console(file=sys.stdout, width=width, markup=False, emoji=False, highlight=False)
    console.print(shown)

"""A page as one self-contained HTML file: inline SVG, inline sound, no network, of a bounded size."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from resplice.transforms import charts
from resplice.transforms.page import Block, Listing, Page

MAX_BYTES = 5_000_000
_TEMPLATE = "page.html.j2"


def render(page: Page, limit: int = MAX_BYTES) -> bytes:
    """Return the page as HTML of at most `limit` bytes; the rows of its longest listings are cut until it fits.

    Raises ValueError if it does not fit without any row.
    """
    template = _environment().get_template(_TEMPLATE)
    while len(data := template.render(page=page).encode()) > limit:
        longest = max((len(block.rows) for block in _listings(page)), default=0)
        if not longest:
            raise ValueError(f"the report has {len(data)} bytes without its listings, {limit} are allowed")
        page = _cut(page, longest // 2)
    return data


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["charts"] = charts
    environment.filters["data_uri"] = _data_uri
    environment.filters["in_rows"] = _in_rows
    environment.filters["count"] = lambda value: f"{value:,}"
    return environment


def _data_uri(flac: bytes) -> str:
    return "data:audio/flac;base64," + base64.b64encode(flac).decode()


def _in_rows(blocks: Sequence[Block]) -> list[tuple[str, list[Block]]]:
    """Group blocks of one kind that follow one another: those stand side by side."""
    return [(kind, list(group)) for kind, group in groupby(blocks, key=lambda block: block.kind)]


def _listings(page: Page) -> Iterator[Listing]:
    for section in page.sections:
        yield from (block for block in section.blocks if isinstance(block, Listing))


def _cut(page: Page, most: int) -> Page:
    def cut(block: Block) -> Block:
        return replace(block, rows=block.rows[:most]) if isinstance(block, Listing) else block

    return replace(page, sections=[replace(s, blocks=[cut(block) for block in s.blocks]) for s in page.sections])

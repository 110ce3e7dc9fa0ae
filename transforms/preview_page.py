"""A first look at embeddings: a projection, and the nearest neighbours of a few items to listen to."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from resplice.transforms import projection, provenance
from resplice.transforms.page import Block, Heard, Neighbours, Page, Point, Scatter, Section, Sound

ITEMS, NEAREST = 6, 4


def page(
    labels: Sequence[str], vectors: NDArray[np.float32], total: int, maker: str,
    sound: Callable[[int], Sound | None],
) -> Page:  # fmt: skip
    """Return the page of some vectors, shape (n, dim), with a label each, out of `total`; `sound` gives that of one."""
    chosen = projection.apart(vectors, ITEMS)
    marks = {row: str(number) for number, row in enumerate(chosen, 1)}
    blocks: list[Block] = [_scatter(labels, vectors, marks)] if len(vectors) else []
    shown = [_neighbours(labels, vectors, row, mark, sound) for row, mark in marks.items()]
    sections = [
        Section("plane", "All of them", "Each dot is an item; near means alike, as far as two directions can show.",
                blocks),
        Section("nearest", "Nearest neighbours, to hear",
                "Items that lie far apart, and what the embedder holds nearest to each: 1 is the same.", shown),
    ]  # fmt: skip
    told = f"{len(vectors):,} items" + (f" of {total:,}, chosen by digest" if total > len(vectors) else "")
    facts = [("embedder", maker), ("made", provenance.now()[:19].replace("T", " ") + " UTC")]
    tone = "good" if len(vectors) else "warn"
    return Page("Embeddings: a first look", told, tone, facts, [section for section in sections if section.blocks])


def _scatter(labels: Sequence[str], vectors: NDArray[np.float32], marks: dict[int, str]) -> Scatter:
    places, shares = projection.plane(vectors)
    points = [
        Point(float(x), float(y), label, marks.get(row, ""))
        for row, ((x, y), label) in enumerate(zip(places, labels, strict=True))
    ]
    axes = tuple(f"{share:.0%} of the variance".replace("%", " %") for share in shares)
    return Scatter("Principal components", points, (axes[0], axes[1]))


def _neighbours(
    labels: Sequence[str], vectors: NDArray[np.float32], row: int, mark: str, sound: Callable[[int], Sound | None]
) -> Neighbours:
    near = projection.neighbours(vectors, row, NEAREST)
    others = [Heard(labels[other], f"{score:.4f}", sound(other)) for other, score in near]
    return Neighbours(mark, Heard(labels[row], "", sound(row)), others)

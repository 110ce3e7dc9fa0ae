"""A look at vectors: their plane of largest variance, items that lie far apart, and the nearest neighbours of each."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float32]


def plane(vectors: Matrix) -> tuple[NDArray[np.float64], tuple[float, float]]:
    """Return the first two principal components of vectors, shape (n, 2), and the share of the variance of each.

    The sign of a component is such that its largest weight is positive: the same vectors give the same picture.
    """
    wide = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    _, sizes, axes = np.linalg.svd(wide, full_matrices=False)
    two = np.zeros((2, vectors.shape[1]))
    two[: len(axes[:2])] = axes[:2]
    two *= np.where(two[np.arange(2), np.abs(two).argmax(axis=1)] < 0, -1.0, 1.0)[:, None]
    shares = np.zeros(2)
    shares[: len(sizes[:2])] = sizes[:2] ** 2 / (np.sum(sizes**2) or 1.0)
    return wide @ two.T, (float(shares[0]), float(shares[1]))


def apart(vectors: Matrix, most: int) -> list[int]:
    """Return up to `most` rows that lie far from one another: each the one that is farthest from those before it, the
    first the one that is nearest to the middle.
    """
    if not len(vectors):
        return []
    chosen = [int(np.argmax(vectors @ vectors.mean(axis=0)))]
    nearest = vectors @ vectors[chosen[0]]
    while len(chosen) < min(most, len(vectors)):
        row = int(np.argmin(nearest))
        if row in chosen:
            break
        chosen.append(row)
        nearest = np.maximum(nearest, vectors @ vectors[row])
    return chosen


def neighbours(vectors: Matrix, row: int, most: int) -> list[tuple[int, float]]:
    """Return the rows nearest to a row by cosine (vectors have the length 1), the nearest first, without itself."""
    near = vectors @ vectors[row]
    order = [int(other) for other in np.argsort(-near, kind="stable") if other != row]
    return [(other, float(near[other])) for other in order[:most]]

"""Statistics of mel cepstra: what the embedder `logmel` makes of the log-mel energies of a recording."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BANDS, COEFFICIENTS = 80, 24
DIM = 5 * COEFFICIENTS
BLOCK = 128
"""Frames: so small a product is never divided among threads of BLAS, which could change its last bits."""
_PERCENTILES = (10.0, 90.0)


def dct_matrix(bands: int = BANDS, coefficients: int = COEFFICIENTS) -> NDArray[np.float64]:
    """Return the orthonormal DCT-II as a matrix, shape (bands, coefficients): energies @ matrix are the coefficients.

    Column k is sqrt(2 / bands) * cos(pi * k * (2 n + 1) / (2 bands)), column 0 divided by sqrt(2) (Ahmed, Natarajan and
    Rao, 1974).
    """
    n, k = np.arange(bands)[:, None], np.arange(coefficients)[None, :]
    matrix = np.sqrt(2.0 / bands) * np.cos(np.pi * k * (2 * n + 1) / (2 * bands))
    matrix[:, 0] /= np.sqrt(2.0)
    return matrix  # type: ignore[no-any-return]


_DCT = dct_matrix()


def cepstra(energies: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the coefficients 0 to 23 of log-mel energies, shape (frames, 80) → (frames, 24); at most BLOCK frames."""
    return energies.astype(np.float64) @ _DCT


def deltas(coefficients: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the differences from frame to frame: shape (frames, n) → (frames - 1, n); of one frame a row of zeros."""
    return np.diff(coefficients, axis=0) if len(coefficients) > 1 else np.zeros_like(coefficients)


def statistics(found: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return mean, standard deviation, standard deviation of the deltas, 10th and 90th percentile of each coefficient.

    `found`: coefficients, shape (frames, 24), at least one frame. Shape (120,): 24 of each statistic, in this order.
    Standard deviations are those of a population, percentiles are linear.
    """
    low, high = np.percentile(found, _PERCENTILES, axis=0)
    return np.concatenate([found.mean(axis=0), found.std(axis=0), deltas(found).std(axis=0), low, high])

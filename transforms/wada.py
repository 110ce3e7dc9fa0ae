"""SNR from the distribution of amplitudes alone (WADA), after Kim and Stern, Interspeech 2008, pages 2598 to 2601.

Speech has a symmetric gamma distribution of amplitudes with shape 0.4, noise a normal one. With z = speech + noise,
G = ln E|z| - E ln|z| depends on their ratio alone and grows with it, so that a table of G gives the SNR. The table here
is computed from this definition by numerical integration; no published numbers were copied.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

SHAPE = 0.4
LOW_DB, HIGH_DB = -20.0, 100.0
"""The range of the table; what lies beyond has the nearer end."""
STEP_LOG = math.log(0.5) - 1
"""Mean of ln|u| of u uniform within half a quantisation step of 0: what a sample of 0 stands for, in ln of steps."""

_EULER = 0.5772156649015329
_STEPS = 4_000
_LN_T = (-40.0, 2.2)  # ln of t = x**SHAPE: beyond, the density of the gamma distribution is below 1e-17
_TERMS = 600
_LARGE = 20.0  # standard deviations from which the expansion of E ln|a + n| is exact to 1e-7


def snr_db(mean_abs: float, mean_log: float) -> float:
    """Return the SNR in dB, within [-20, 100], of a signal with this E|z| (> 0) and E ln|z| (z in any unit)."""
    g = math.log(mean_abs) - mean_log
    levels, table = gap_table()
    return float(np.interp(g, table, levels))


def moments(samples: npt.NDArray[np.signedinteger], step: int = 1) -> tuple[float, float] | None:
    """Return E|z| and E ln|z| of one channel of integer samples, shape (n,), in quantisation steps of `step`.

    A constant offset is taken off in whole steps. None if there is no sample, or nothing but the offset.
    """
    if not len(samples):
        return None
    levels = samples.astype(np.float64) / step
    size = np.abs(levels - round(float(levels.mean())))
    if not size.any():
        return None
    logs = np.log(np.where(size > 0, size, 1.0))
    return float(size.mean()), float((logs.sum() + STEP_LOG * np.count_nonzero(size == 0)) / len(size))


@cache
def gap_table() -> tuple[Floats, Floats]:
    """Return SNRs from -20 to 100 dB, one a dB, and G of each (ascending).

    The gamma density has a pole at 0; over s = ln(x**SHAPE) it has none, and the sums below are trapezoids over s.
    """
    s = np.linspace(*_LN_T, _STEPS)
    density = np.exp(s - np.exp(s / SHAPE))
    density /= density.sum()
    levels = np.arange(LOW_DB, HIGH_DB + 1)
    power = SHAPE * (SHAPE + 1)  # E x**2 of the gamma distribution with scale 1
    sigmas = np.sqrt(power) * 10 ** (-levels / 20)
    grid = np.linspace(-60.0, 30.0, _STEPS)  # of ln a, wide enough for every x / sigma that weighs anything
    logs, sizes = _mean_log(np.exp(grid)), _mean_abs(np.exp(grid))
    gaps = []
    for sigma in sigmas:
        at = s / SHAPE - math.log(sigma)
        mean_abs = float(density @ np.interp(at, grid, sizes))
        gaps.append(math.log(mean_abs) - float(density @ np.interp(at, grid, logs)))
    return levels, np.maximum.accumulate(np.array(gaps))


def _mean_abs(a: Floats) -> Floats:
    """Return E|a + n| of a standard normal n."""
    erf = np.array([math.erf(value) for value in a / math.sqrt(2)])
    return np.asarray(math.sqrt(2 / math.pi) * np.exp(-(np.minimum(a, 40.0) ** 2) / 2) + a * erf)


def _mean_log(a: Floats) -> Floats:
    """Return E ln|a + n| of a standard normal n.

    (a + n)**2 is chi-square with one degree of freedom and the noncentrality a**2: a Poisson mixture of central ones,
    whose mean logarithm is the digamma function. For large a: ln a - 1/(2 a**2) - 3/(4 a**4).
    """
    half = np.minimum(a, _LARGE) ** 2 / 2
    digamma, weight = -_EULER - 2 * math.log(2), np.exp(-half)
    total = np.zeros_like(a)
    for j in range(_TERMS):
        total += weight * digamma
        digamma += 2 / (2 * j + 1)
        weight = weight * half / (j + 1)
    small = (total + math.log(2)) / 2
    return np.where(a < _LARGE, small, np.log(a) - 1 / (2 * a**2) - 3 / (4 * a**4))

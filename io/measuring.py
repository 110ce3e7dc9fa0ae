"""What the engines of this package have in common: measures apart from decisions, settings checked, audio as floats."""

from __future__ import annotations

import importlib.metadata
from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from resplice.transforms.rules import Kind
from resplice.transforms.signal import Measures, Samples

Answer = tuple[str, list[str], Measures]
Mono = npt.NDArray[np.float32]


class Measuring(ABC):
    """An engine whose answer is a decision over its measures alone, so that a stored measure can be judged again."""

    kind: ClassVar[Kind]
    packages: ClassVar[tuple[str, ...]] = ()
    """Distributions that make the measures: their versions are part of the engine's."""
    revision: ClassVar[int] = 1
    """Grows when the same audio gets other measures."""

    def __init__(self, **settings: Any) -> None:
        self.kind.check(settings)
        self.decider = self.kind.decider(settings)
        self.own = self.kind.own(settings)

    @property
    def name(self) -> str:
        """Return the name of the engine."""
        return self.kind.name

    @cached_property
    def version(self) -> str:
        """Return the version of the measures: ours, and those of the packages that make them."""
        return "; ".join(
            [str(self.revision), *(f"{name} {importlib.metadata.version(name)}" for name in self.packages)]
        )

    @abstractmethod
    def measure(self, samples: Samples, rate: int, row: Mapping[str, Any]) -> Measures:
        """Return the measures of one segment; None for one that it does not have."""

    def judge(self, samples: Samples, rate: int, row: dict[str, Any]) -> Answer:
        """Measure, then decide."""
        return self.told(self.measure(samples, rate, row))

    def told(self, measures: Measures) -> Answer:
        """Return the answer that measures give."""
        return (*self.decider.decide(measures), measures)


def full_scale(samples: Samples) -> float:
    """Return the level of full scale, in units of the samples."""
    return 2.0 ** (samples.dtype.itemsize * 8 - 1)


def mono(samples: Samples) -> Mono:
    """Return the mean of the channels: float32, shape (frames,), in [-1, 1]."""
    return np.asarray(samples.mean(axis=1) / full_scale(samples), dtype=np.float32)


def resampled(signal: Mono, rate: int, wanted: int) -> Mono:
    """Return a signal at another rate, in Hz."""
    import soxr

    return signal if rate == wanted else np.asarray(soxr.resample(signal, rate, wanted), dtype=np.float32)

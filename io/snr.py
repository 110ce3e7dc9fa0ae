"""The engine `snr`: the ratio of speech to noise, blind, by WADA (`resplice.transforms.wada`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from resplice.io.measuring import Measuring
from resplice.transforms import wada
from resplice.transforms.kinds import SNR
from resplice.transforms.signal import Measures, Samples


class Snr(Measuring):
    """`snr_db`: dB in [-20, 100] of the channel that has the lowest; None where every channel is constant."""

    kind = SNR
    revision = 2

    def measure(self, samples: Samples, rate: int, row: Mapping[str, Any]) -> Measures:
        """Measure one segment."""
        step = quantum(samples)
        found = [moments for channel in samples.T if (moments := wada.moments(np.asarray(channel), step))]
        return {"snr_db": min((wada.snr_db(*moments) for moments in found), default=None)}


def quantum(samples: Samples) -> int:
    """Return the quantisation step of left-justified samples: the lowest bit that any of them has; 1 of silence.

    Neither the dtype nor the bits of a file tell it: 8 bits are the upper ones of two bytes, and a file of 24 bits may
    hold 16.
    """
    bits = int(np.bitwise_or.reduce(samples, axis=None))
    return bits & -bits or 1

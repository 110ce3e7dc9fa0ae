"""The engine `snr`: the ratio of speech to noise, blind, by WADA (`resplice.transforms.wada`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from resplice.io.measuring import Measuring
from resplice.transforms import wada
from resplice.transforms.kinds import SNR
from resplice.transforms.signal import Measures, Samples

_STEPS = {2: 1, 4: 256}
"""Quantisation step by the bytes of a sample: 16 bits fill theirs, 24 bits are the upper ones of four bytes."""


class Snr(Measuring):
    """`snr_db`: dB in [-20, 100] of the channel that has the lowest; None where every channel is constant."""

    kind = SNR

    def measure(self, samples: Samples, rate: int, row: Mapping[str, Any]) -> Measures:
        """Measure one segment."""
        step = _STEPS.get(samples.dtype.itemsize, 1)
        found = [moments for channel in samples.T if (moments := wada.moments(np.asarray(channel), step))]
        return {"snr_db": min((wada.snr_db(*moments) for moments in found), default=None)}

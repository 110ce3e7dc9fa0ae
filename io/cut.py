"""Regeneration of the segments of one original. Runs in a killable worker: plug-ins and untrusted audio are inside."""

from __future__ import annotations

import importlib
import operator
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from resplice.io import audio
from resplice.transforms.records import Damage, UserError


@dataclass(frozen=True)
class Cut:
    """One piece of an original: [start, end) in samples (None: the splitter changed samples), its frames and FLAC.

    `flac` is None where the piece is the whole, untouched original.
    """

    start: int | None
    end: int | None
    frames: int
    flac: bytes | None

    def __reduce__(self) -> tuple[Any, ...]:
        return Cut, (self.start, self.end, self.frames, self.flac and pickle.PickleBuffer(self.flac))


@dataclass(frozen=True)
class Regenerated:
    """The pieces of one original, at `rate` Hz, in order."""

    rate: int
    cuts: tuple[Cut, ...]


def load(name: str) -> Callable[..., Any]:
    """Return the function that a dotted name `module:function` means; UserError if there is none."""
    module, _, attribute = name.partition(":")
    try:
        function = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"{name!r} cannot be loaded: {error}; give it as module:function") from None
    if not callable(function):
        raise UserError(f"{name!r} is not a function")
    return function  # type: ignore[no-any-return]


def version(name: str) -> str:
    """Return the `__version__` of a plug-in: the function's own, else its module's, else ""."""
    function = load(name)
    module = importlib.import_module(name.partition(":")[0])
    return str(getattr(function, "__version__", getattr(module, "__version__", "")))


def regenerate(flac: bytes, splitter: str, settings: Mapping[str, Any], max_bytes: int) -> Regenerated:
    """Decode one original, cut it, and encode the pieces that are not the untouched whole.

    Raises Damage if the original does not decode to its end and its own MD5, ValueError if the splitter's answer
    is none, and whatever the splitter raises.
    """
    decoded = audio.decode(flac, max_bytes)
    audio.verify(decoded)
    # A copy: what a splitter writes into its samples must not reach the pieces that it only cuts.
    answer = load(splitter)(decoded.samples.copy(), decoded.rate, **settings)
    return Regenerated(decoded.rate, tuple(_cut(piece, decoded, splitter) for piece in answer))


def check(flac: bytes, max_bytes: int) -> None:
    """Raise Damage unless an original decodes to its end and its own MD5."""
    audio.verify(audio.decode(flac, max_bytes))


def _cut(piece: Any, whole: audio.Audio, splitter: str) -> Cut:
    if isinstance(piece, np.ndarray):
        samples = piece.reshape(len(piece), -1)
        have, want = (samples.dtype, samples.shape[1]), (whole.samples.dtype, whole.samples.shape[1])
        if have != want:
            raise ValueError(f"{splitter} returned samples of {have} (dtype, channels) for {want}")
        return Cut(None, None, len(samples), _encoded(samples, whole))
    try:
        start, end = (operator.index(bound) for bound in piece)
    except TypeError:
        raise ValueError(f"{splitter} returned {piece!r}, expected (start, end) in samples") from None
    if not 0 <= start < end <= whole.frames:
        raise ValueError(f"{splitter} returned the piece [{start}, {end}) of {whole.frames} samples")
    if (start, end) == (0, whole.frames):
        return Cut(start, end, whole.frames, None)
    return Cut(start, end, end - start, _encoded(whole.samples[start:end], whole))


def _encoded(samples: Any, whole: audio.Audio) -> bytes:
    flac = audio.encode(samples, whole.rate, whole.bits)
    decoded = audio.decode(flac)
    audio.verify(decoded)
    if not audio.same(decoded.samples, samples, whole.bits):
        raise Damage("flac_md5", "the encoded piece does not decode to the samples it was made of")
    return flac


def write_json(writer: str, segments: list[dict[str, Any]]) -> list[bytes]:
    """Return the JSON file of each segment by the configured writer; ValueError unless it returns bytes."""
    function = load(writer)
    files = [function(segment) for segment in segments]
    for data in files:
        if not isinstance(data, bytes):
            raise ValueError(f"{writer} returned {type(data).__name__}, expected bytes")
    return files

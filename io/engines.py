"""The chain of engines that judges a segment: installed by entry point, each with its own settings.

An engine is `f(**settings)` → an object with `name`, `version` and `judge(samples, rate, row) -> (status, reasons,
measures)`, registered in the entry point group `resplice.engines`:

- `samples`: read-only int16 or int32, shape (frames, channels), level = value / 2**(bits of the dtype - 1); `rate` in
  Hz; `row`: the columns of the segment's row, the text under `transcription`;
- `status`: passed, failed, error or unsure (the last two go to the next engine); `reasons`: strings;
- `measures`: str → int, float (finite), str, bool or None; they become columns of the validate shard.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cache
from importlib import metadata
from typing import Any, Protocol

import numpy as np

from resplice.io.answers import described
from resplice.io.audio import Samples, pcm_md5
from resplice.io.measuring import Answer, Measuring
from resplice.transforms.kinds import KINDS, SIGNAL, deciding
from resplice.transforms.records import UserError
from resplice.transforms.settings import Validate
from resplice.transforms.signal import Measures, measure

GROUP = "resplice.engines"
Frozen = tuple[tuple[str, Any], ...]


class Engine(Protocol):
    """What an entry point of the group `resplice.engines` makes from its settings."""

    name: str
    version: str

    def judge(self, samples: Samples, rate: int, row: dict[str, Any]) -> Answer:
        """Return (status, reasons, measures) of one segment."""


@dataclass(frozen=True)
class ChainSpec:
    """The engines in order, each with its settings: (name, ((key, value), …)). Picklable."""

    engines: tuple[tuple[str, Frozen], ...]

    @property
    def batch(self) -> int:
        """Return how many segments an engine of the chain wants at once."""
        places = [{**KINDS[name].places, **dict(given)} for name, given in self.engines if name in KINDS]
        return max((int(settings.get("batch", 1)) for settings in places), default=1)

    @property
    def deciding(self) -> ChainSpec:
        """Return the chain without the settings that change no result: where a model is, how much it gets at once."""
        return ChainSpec(tuple((name, deciding(name, settings)) for name, settings in self.engines))

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the engines, in order."""
        return tuple(name for name, _ in self.engines)


@dataclass(frozen=True)
class Judged:
    """The verdict on one segment: status passed, failed or error; `attempts` is how many engines judged.

    `engine` is the one that decided (of an error: the last one; "decode" if no engine could be asked). `measures` are
    those of all engines that judged: a later engine's replace an earlier one's, those of `signal` are always its own.
    `asked` are the engines whose measures these are, `spent` the seconds of each that was asked, and of decoding.
    """

    status: str
    reasons: tuple[str, ...]
    engine: str
    attempts: int
    measures: Measures = field(default_factory=dict)
    detail: str = ""
    asked: tuple[str, ...] = field(default=(), compare=False)
    spent: tuple[tuple[str, float], ...] = field(default=(), compare=False)


class Signal(Measuring):
    """The built-in engine: levels, silence, clipping and text rate against thresholds.

    Settings: the fields of `SignalThresholds`, and `margin_X` (>= 0, in the unit of X) for each of them that is
    compared with a measure: a reason that a shift of X by its margin gives or takes away makes the answer unsure,
    unless another reason is certain.
    """

    kind = SIGNAL

    def judge(self, samples: Samples, rate: int, row: Mapping[str, Any], md5: str = "") -> Answer:
        """Measure and judge; `md5` of the PCM where it is known."""
        return self.told(self.measure(samples, rate, row, md5))

    def measure(self, samples: Samples, rate: int, row: Mapping[str, Any], md5: str = "") -> Measures:
        """Return the measures of one segment; without its `md5` that of int32 samples is taken to be of 24 bits."""
        digest = md5 or pcm_md5(samples, 24 if samples.dtype == np.int32 else 16)
        gap, level = self.own["silence_gap_dbfs"], self.own["clipped_level"]
        text = str(row.get("transcription") or "")
        return measure(samples, rate, text, gap_dbfs=gap, clipped_level=level, md5=digest)


def missing(names: Sequence[str]) -> list[str]:
    """Return those of the named engines that are not installed, or whose extra is not.

    Raises:
        UserError: all of them are missing, or one is installed and its import fails otherwise.
    """
    gone = [name for name in names if absent(name)]
    if names and len(gone) < len(names):
        return gone
    raise unusable(names)


def unusable(names: Sequence[str]) -> UserError:
    """Return the error of a chain none of whose engines can be used."""
    there = ", ".join(sorted({e.name for e in metadata.entry_points(group=GROUP) if usable(e.name)})) or "none"
    return UserError(
        f"[validate] engines = {list(names)}: none of them can be used; those that can: {there}.\n"
        f"Name one of these, or install what provides the engine (its extra, e.g. resplice[{[*names, 'NAME'][0]}])."
    )


def usable(name: str) -> bool:
    """Return whether an engine is installed, with its extra, and can be imported."""
    try:
        return not absent(name)
    except UserError:
        return False


def absent(name: str) -> bool:
    """Return whether an engine is not installed, or its extra is not; UserError if its import fails otherwise."""
    try:
        _factory(name)
    except ImportError:
        return True
    except Exception as error:
        raise UserError(f"engine {name} is installed, but cannot be loaded: {described(error)}") from error
    return False


def chain_of(validate: Validate) -> tuple[ChainSpec, list[str]]:
    """Return the chain that `[validate]` asks for, without its missing engines, and the names of these (skipped)."""
    skipped = missing(validate.engines)
    check_end(validate)
    return asked_of(validate, [name for name in validate.engines if name not in skipped]), skipped


def check_end(validate: Validate) -> None:
    """Raise UserError if the last engine passes nothing."""
    last, given = validate.engines[-1], dict(validate.engine_settings)
    if last in KINDS and dict(given.get(last, ())).get("passes") is False:
        raise UserError(
            f"[validate.{last}] passes = false, and {last} is the last of [validate] engines: no segment could pass; "
            "leave that out, or name another engine behind it"
        )


def asked_of(validate: Validate, names: Sequence[str]) -> ChainSpec:
    """Return the chain of some engines, each with its settings in `[validate]`."""
    signal = tuple((f.name, getattr(validate.signal, f.name)) for f in fields(validate.signal))
    given = dict(validate.engine_settings)
    settings = {**given, "signal": (*signal, *given.get("signal", ()))}
    return ChainSpec(tuple((name, tuple(settings.get(name, ()))) for name in names))


def versions(spec: ChainSpec) -> dict[str, str]:
    """Return the version of each engine of a chain. This makes the engines: UserError if one refuses its settings."""
    return {name: _version(name, settings) for name, settings in spec.engines}


def _version(name: str, settings: Frozen) -> str:
    try:
        return str(load(name, settings).version)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"engine {name} cannot be made from [validate.{name}]: {described(error)}") from error


def load(name: str, settings: Frozen) -> Engine:
    """Return the engine, made once per process, name and settings."""
    key = (name, repr(settings))
    if key not in _made:
        _made[key] = _factory(name)(**dict(settings))
    return _made[key]


_made: dict[tuple[str, str], Engine] = {}


@cache
def _factory(name: str) -> Callable[..., Engine]:
    point = next(iter(metadata.entry_points(group=GROUP, name=name)), None)
    if point is None:
        raise ImportError(f"no engine {name!r} in the entry point group {GROUP}")
    factory: Callable[..., Engine] = point.load()
    return factory

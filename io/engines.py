"""The chain of engines that judges a segment: installed by entry point, each with its own settings.

An engine is `f(**settings)` → an object with `name`, `version` and `judge(samples, rate, row) -> (status, reasons,
measures)`, registered in the entry point group `resplice.engines`:

- `samples`: read-only int16 or int32, shape (frames, channels), level = value / 2**(bits of the dtype - 1); `rate` in
  Hz; `row`: the columns of the segment's row, the text under `transcription`;
- `status`: passed, failed, error or unsure (the last two go to the next engine); `reasons`: strings;
- `measures`: str → int, float (finite), str, bool or None; they become columns of the validate shard.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cache
from importlib import metadata
from typing import Any, Protocol

import numpy as np

from resplice.io.audio import Audio, Samples, decode, pcm_md5, verify
from resplice.transforms.records import DISK_FULL, Damage, Reason, UserError
from resplice.transforms.settings import SignalThresholds, Validate
from resplice.transforms.signal import Measures, measure
from resplice.transforms.verdict import doubtful, segment_reasons

GROUP = "resplice.engines"
STATUSES = ("passed", "failed", "error", "unsure")
COLUMNS = (  # of a validate shard: no measure may take their place
    *("video_id", "segment_file", "db_segment_file", "row_id", "split_index"),
    *("status", "reasons", "engine", "attempts", "run_id", "detail"),
)
Answer = tuple[str, Sequence[str], Mapping[str, Any]]
Frozen = tuple[tuple[str, Any], ...]

_MARGINS = tuple(f.name for f in fields(SignalThresholds) if f.name not in ("clipped_level", "silence_gap_dbfs"))
_KNOWN = (*(f.name for f in fields(SignalThresholds)), *(f"margin_{name}" for name in _MARGINS))


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
    def names(self) -> tuple[str, ...]:
        """Return the names of the engines, in order."""
        return tuple(name for name, _ in self.engines)


@dataclass(frozen=True)
class Judged:
    """The verdict on one segment: status passed, failed or error; `attempts` is how many engines judged.

    `engine` is the one that decided (of an error: the last one; "decode" if no engine could be asked). `measures` are
    those of all engines that judged: a later engine's replace an earlier one's, those of `signal` are always its own.
    """

    status: str
    reasons: tuple[str, ...]
    engine: str
    attempts: int
    measures: Measures = field(default_factory=dict)
    detail: str = ""


class Signal:
    """The built-in engine: levels, silence, clipping and text rate against thresholds.

    Settings: the fields of `SignalThresholds`, and `margin_X` (>= 0, in the unit of X) for each of them that is
    compared with a measure: a reason that a shift of X by its margin gives or takes away makes the answer unsure,
    unless another reason is certain.
    """

    name = "signal"
    version = "1"

    def __init__(self, **settings: Any) -> None:
        for key, value in settings.items():
            _check_setting(key, value)
        self.margins = {k.removeprefix("margin_"): v for k, v in settings.items() if k.startswith("margin_")}
        self.thresholds = SignalThresholds(**{k: v for k, v in settings.items() if not k.startswith("margin_")})

    def judge(self, samples: Samples, rate: int, row: dict[str, Any], md5: str = "") -> Answer:
        """Measure and judge; `md5` of the PCM where it is known (24 bits are assumed for int32 otherwise)."""
        digest = md5 or pcm_md5(samples, 24 if samples.dtype == np.int32 else 16)
        t, text = self.thresholds, str(row.get("transcription") or "")
        measures = measure(samples, rate, text, gap_dbfs=t.silence_gap_dbfs, clipped_level=t.clipped_level, md5=digest)
        return (*self.decide(measures), measures)

    def decide(self, measures: Mapping[str, Any]) -> tuple[str, list[str]]:
        """Return status and reasons for stored measures: passed, failed or unsure."""
        reasons = segment_reasons(measures, self.thresholds)
        doubts = doubtful(measures, self.thresholds, self.margins)
        if set(reasons) - doubts:
            return "failed", reasons
        return ("unsure" if doubts else "passed"), reasons


def _check_setting(key: str, value: Any) -> None:
    where = f"[validate.signal] {key}"
    if key not in _KNOWN:
        near = difflib.get_close_matches(key, _KNOWN, n=1, cutoff=0)[0]
        raise UserError(f"{where} is not a setting; the nearest known one is {near}")
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise UserError(f"{where} = {value!r}: give a finite number")
    if key.startswith("margin_") and value < 0:
        raise UserError(f"{where} = {value!r}: a margin is at least 0")


def missing(names: Sequence[str]) -> list[str]:
    """Return those of the named engines that are not installed, or whose extra is not.

    Raises:
        UserError: all of them are missing, or one is installed and its import fails otherwise.
    """
    absent = [name for name in names if not _available(name)]
    if names and len(absent) < len(names):
        return absent
    installed = ", ".join(sorted({e.name for e in metadata.entry_points(group=GROUP)})) or "none"
    raise UserError(
        f"[validate] engines = {list(names)}: none of them can be used; installed: {installed}.\n"
        f"Name one of these, or install what provides the engine (its extra, e.g. resplice[{[*names, 'NAME'][0]}])."
    )


def _available(name: str) -> bool:
    try:
        return bool(_factory(name))
    except ImportError:
        return False
    except Exception as error:
        raise UserError(f"engine {name} is installed, but cannot be loaded: {_describe(error)}") from error


def chain_of(validate: Validate) -> tuple[ChainSpec, list[str]]:
    """Return the chain that `[validate]` asks for, without its missing engines, and the names of these (skipped)."""
    skipped = missing(validate.engines)
    signal = tuple((f.name, getattr(validate.signal, f.name)) for f in fields(validate.signal))
    given = dict(validate.engine_settings)
    settings = {**given, "signal": (*signal, *given.get("signal", ()))}
    present = (name for name in validate.engines if name not in skipped)
    return ChainSpec(tuple((name, tuple(settings.get(name, ()))) for name in present)), skipped


def versions(spec: ChainSpec) -> dict[str, str]:
    """Return the version of each engine of a chain. This makes the engines: UserError if one refuses its settings."""
    return {name: _version(name, settings) for name, settings in spec.engines}


def _version(name: str, settings: Frozen) -> str:
    try:
        return str(load(name, settings).version)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"engine {name} cannot be made from [validate.{name}]: {_describe(error)}") from error


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


def judge_segment(flac: bytes, row: dict[str, Any], spec: ChainSpec, max_bytes: int | None) -> Judged:
    """Decode one FLAC and let the chain judge it; this is what runs in the killable worker.

    A FLAC that does not decode fails as `undecodable`; one whose frames or MD5 are not the declared ones fails as
    `header_mismatch`, whatever engines would say, with the measures and further reasons of `signal` if it is in the
    chain. Both are `signal`'s decision if it is in the chain, else "decode"'s with 0 attempts.

    Raises:
        MemoryError: of decoding or of an engine; it is for the sandbox to report.
    """
    decider, attempts = ("signal", 1) if "signal" in spec.names else ("decode", 0)
    try:
        audio = decode(flac, max_bytes)
    except Damage as damage:
        return Judged("failed", ("undecodable",), decider, attempts, detail=str(damage))
    audio.samples.flags.writeable = False
    try:
        verify(audio)
    except Damage as damage:
        asked = ChainSpec(tuple(e for e in spec.engines if e[0] == "signal"))
        told = judge(audio, row, asked) if attempts else Judged("error", (), decider, attempts)
        reasons = told.reasons if told.status == "failed" else ()
        return Judged("failed", ("header_mismatch", *reasons), decider, attempts, told.measures, str(damage))
    return judge(audio, row, spec)


def judge(audio: Audio, row: dict[str, Any], spec: ChainSpec) -> Judged:
    """Ask the engines in order until one says passed or failed; none does: error, `engine_failed`.

    An exception of an engine, or an answer of another form, counts as its error. `detail` tells what each engine said
    that did not decide.
    """
    measures: Measures = {}
    own: Measures = {}
    undecided: list[tuple[str, str]] = []
    for name, settings in spec.engines:
        status, reasons, found = _ask(name, settings, audio, row)
        own = {**found} if name == "signal" else own
        measures = {**measures, **found, **own}
        if status in ("passed", "failed"):
            return Judged(status, tuple(reasons), name, len(undecided) + 1, measures, _told(undecided))
        undecided.append((status, f"{name}: {', '.join([status, *reasons])}"))
    doubt = {status for status, _ in undecided} == {"unsure"}
    detail = "unsure by every engine" if doubt else _told(undecided)
    return Judged("error", (Reason.ENGINE_FAILED.value,), spec.names[-1], len(undecided), measures, detail)


def _told(undecided: list[tuple[str, str]]) -> str:
    return "; ".join(text for _, text in undecided)


def _ask(name: str, settings: Frozen, audio: Audio, row: dict[str, Any]) -> Answer:
    """Return the checked answer of one engine; an exception becomes the status error, told as a reason."""
    try:
        engine = load(name, settings)
        if isinstance(engine, Signal):
            return engine.judge(audio.samples, audio.rate, row, audio.md5)
        return _checked(engine.judge(audio.samples, audio.rate, dict(row)))
    except (MemoryError, UserError):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            raise
        return "error", [_describe(error)], {}


def _checked(answer: Any) -> Answer:
    """Return an engine's answer with numpy scalars as Python's, or raise ValueError if it is malformed."""
    status, reasons, measures = answer
    if status not in STATUSES:
        raise ValueError(f"status {status!r}; known are {', '.join(STATUSES)}")
    if isinstance(reasons, str) or not all(isinstance(reason, str) for reason in reasons):
        raise ValueError(f"reasons {reasons!r}; a list of strings is expected")
    "".join(reasons).encode()  # what UTF-8 cannot hold, no shard can
    plain = {key: value.item() if isinstance(value, np.generic) else value for key, value in measures.items()}
    for key, value in plain.items():
        _check_measure(key, value)
    return str(status), list(reasons), plain


def _check_measure(key: Any, value: Any) -> None:
    if not isinstance(key, str) or key in COLUMNS:
        raise ValueError(f"measure {key!r}: a name is a string, and none of {', '.join(COLUMNS)}")
    if not isinstance(value, int | float | str | None):
        raise ValueError(f"measure {key} is a {type(value).__name__}; int, float, str, bool or None is expected")
    if isinstance(value, str):
        value.encode()
    elif value is not None and not (math.isfinite(value) and (isinstance(value, float) or -(2**63) <= value < 2**63)):
        raise ValueError(f"measure {key} is {value}; finite numbers, and integers of 64 bits, are expected")


def _describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__

"""A chain of engines judges segments: this is what runs in the killable worker.

Each engine in turn gets the segments that none before it decided; one that can take many at once (`judge_all`) does.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from resplice.io.answers import checked, described
from resplice.io.audio import Audio, decode, verify
from resplice.io.engines import ChainSpec, Frozen, Judged, Signal, load
from resplice.io.measuring import Answer
from resplice.transforms.kinds import SIGNAL
from resplice.transforms.records import DISK_FULL, Damage, Reason, UserError
from resplice.transforms.signal import Measures

DECODE = "decode"


def judge_segment(flac: bytes, row: dict[str, Any], spec: ChainSpec, max_bytes: int | None) -> Judged:
    """Decode one FLAC and let the chain judge it, as `judge_segments` does."""
    return judge_segments([flac], [row], spec, max_bytes)[0]


def judge_segments(
    flacs: Sequence[bytes], rows: Sequence[dict[str, Any]], spec: ChainSpec, max_bytes: int | None
) -> list[Judged]:
    """Decode FLACs and let the chain judge them, each with its row.

    A FLAC that does not decode fails as `undecodable`; one whose frames or MD5 are not the declared ones fails as
    `header_mismatch`, whatever engines would say, with the measures and further reasons of `signal` if it is in the
    chain. Both are `signal`'s decision if it is in the chain, else "decode"'s with 0 attempts.

    Raises:
        MemoryError: of decoding or of an engine; it is for the sandbox to report.
    """
    begun = [_begun(flac, row, spec, max_bytes) for flac, row in zip(flacs, rows, strict=True)]
    judge([case for case in begun if case.judged is None], spec)
    return [case.end(spec) for case in begun]


@dataclass
class Case:
    """One segment on its way through the chain; `judged` is set when it is decided."""

    audio: Audio | None
    row: dict[str, Any]
    spent: list[tuple[str, float]] = field(default_factory=list)
    judged: Judged | None = None
    measures: Measures = field(default_factory=dict)
    own: Measures = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    undecided: list[tuple[str, str]] = field(default_factory=list)

    def take(self, name: str, answer: Answer, seconds: float) -> None:
        """Take the answer of one engine; of a segment that is decided, its measures alone."""
        status, reasons, found = answer
        self.spent.append((name, seconds))
        self.asked += [name] if status != "error" else []
        self.own = {**found} if name == "signal" else self.own
        self.measures = {**self.measures, **found, **self.own}
        if self.judged is not None:
            self.judged = replace(self.judged, measures=self.measures)
        elif status in ("passed", "failed"):
            attempts = len(self.undecided) + 1
            self.judged = Judged(status, tuple(reasons), name, attempts, self.measures, _told(self.undecided))
        else:
            self.undecided.append((status, f"{name}: {', '.join([status, *reasons])}"))

    def end(self, spec: ChainSpec) -> Judged:
        """Return the verdict; where none decided it is the error `engine_failed`."""
        judged = self.judged
        if judged is None:
            doubt = {status for status, _ in self.undecided} == {"unsure"}
            detail = "unsure by every engine" if doubt else _told(self.undecided)
            judged = Judged("error", (Reason.ENGINE_FAILED.value,), spec.names[-1], len(self.undecided), self.measures,
                            detail)  # fmt: skip
        return replace(judged, asked=tuple(self.asked), spent=tuple(self.spent))


def _begun(flac: bytes, row: dict[str, Any], spec: ChainSpec, max_bytes: int | None) -> Case:
    """Decode one FLAC; what is wrong with it decides."""
    decider, attempts = ("signal", 1) if "signal" in spec.names else (DECODE, 0)
    began = time.perf_counter()
    try:
        audio = decode(flac, max_bytes)
    except Damage as damage:
        found = Judged("failed", ("undecodable",), decider, attempts, detail=str(damage))
        return Case(None, row, [(DECODE, time.perf_counter() - began)], found)
    audio.samples.flags.writeable = False
    case = Case(audio, row, [(DECODE, time.perf_counter() - began)])
    try:
        verify(audio)
    except Damage as damage:
        asked = ChainSpec(tuple(e for e in spec.engines if e[0] == "signal"))
        judge([case], asked)
        told = case.judged or Judged("error", (), decider, attempts, case.measures)
        reasons = told.reasons if told.status == "failed" else ()
        case.judged = Judged("failed", ("header_mismatch", *reasons), decider, attempts, told.measures, str(damage))
    return case


def judge(cases: Sequence[Case], spec: ChainSpec) -> None:
    """Ask the engines in order, each for the segments that are open, until one says passed or failed.

    `signal` measures the decided ones, too: what neighbours show needs the measures of all. An exception of an engine,
    or an answer of another form, counts as its error.
    """
    for name, settings in spec.engines:
        open_ = [case for case in cases if case.judged is None or name == SIGNAL.name]
        began = time.perf_counter()
        answers = _answers(name, settings, open_)
        for case, (answer, seconds) in zip(open_, answers, strict=True):
            case.take(name, answer, (time.perf_counter() - began) / len(open_) if seconds is None else seconds)


def _answers(name: str, settings: Frozen, cases: Sequence[Case]) -> list[tuple[Answer, float | None]]:
    """Return the checked answer of one engine to each segment, with its seconds (None: of all together)."""
    try:
        engine = load(name, settings)
    except Exception as error:
        return [(_failed(error), 0.0)] * len(cases)
    if len(cases) > 1 and hasattr(engine, "judge_all"):
        return [(_answer(name, engine, told), None) for told in _all(engine, cases)]
    return [_alone(name, engine, case) for case in cases]


def _all(engine: Any, cases: Sequence[Case]) -> list[Any]:
    """Return what an engine says of many segments, an exception where it says nothing."""
    segments = [(case.audio.samples, case.audio.rate, dict(case.row)) for case in cases if case.audio is not None]
    try:
        return list(engine.judge_all(segments))
    except Exception as error:
        _failed(error)
        return [error] * len(cases)


def _alone(name: str, engine: Any, case: Case) -> tuple[Answer, float]:
    assert case.audio is not None
    audio, began = case.audio, time.perf_counter()
    try:
        if isinstance(engine, Signal):
            told: Any = engine.judge(audio.samples, audio.rate, case.row, audio.md5)
        else:
            told = engine.judge(audio.samples, audio.rate, dict(case.row))
    except Exception as error:
        told = error
    return _answer(name, engine, told), time.perf_counter() - began


def _answer(name: str, engine: Any, told: Any) -> Answer:
    """Return an answer that was checked; an exception becomes the status error, told as a reason."""
    if isinstance(told, Exception):
        return _failed(told)
    if isinstance(engine, Signal):
        return told  # type: ignore[no-any-return]
    try:
        return checked(told)
    except Exception as error:
        return _failed(error)


def _failed(error: Exception) -> Answer:
    """Return the answer of an engine that raised; what is not its fault is raised again."""
    if isinstance(error, MemoryError | UserError) or (isinstance(error, OSError) and error.errno in DISK_FULL):
        raise error
    return "error", [described(error)], {}


def _told(undecided: list[tuple[str, str]]) -> str:
    return "; ".join(text for _, text in undecided)

"""Verdicts from stored measures, without audio: the chain with other thresholds, over the rows of one video.

`again_columns` does the same for a whole shard at once; a test holds them equal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from resplice.transforms.kinds import KINDS, SIGNAL
from resplice.transforms.records import Reason
from resplice.transforms.rules import FAILED, UNSURE, Decider
from resplice.transforms.settings import SignalThresholds
from resplice.transforms.verdict import VIDEO_REASONS, video_reasons

Row = dict[str, Any]
Chain = Sequence[tuple[str, Decider]]
"""The engines in order, each with what decides over its measures."""
UNDECODABLE, MISMATCH = "undecodable", "header_mismatch"
ALL_UNSURE = "unsure by every engine"


def again(rows: Sequence[Row], chain: Chain) -> list[Row]:
    """Return the rows of one video (in stem order) as the chain decides by their stored measures.

    What no engine measured (it did not decode, the worker died) keeps its verdict. An engine that the chain would ask
    now and did not then has no measures: the next one is asked, and if none decides, the segment is an error. Where it
    comes out as before all the same, the row keeps what was told of that engine (it raised), and the attempts.
    """
    decided = [alone(_decided(row, chain)) for row in rows]
    if SIGNAL.name not in dict(chain):
        return decided
    iqr = dict(chain)[SIGNAL.name].thresholds["duration_outlier_iqr"]
    measured = [row if row.get("pcm_md5") is not None else None for row in rows]
    found = video_reasons(measured, SignalThresholds(duration_outlier_iqr=iqr))
    return [with_video_reasons(row, reasons) for row, reasons in zip(decided, found, strict=True)]


def with_video_reasons(row: Row, found: Sequence[str]) -> Row:
    """Return a row that stands for itself with what only its neighbours show, and the status that this gives."""
    reasons = [*row["reasons"], *(reason for reason in found if reason not in row["reasons"])]
    return {**row, "reasons": reasons, "status": FAILED if row["status"] == "passed" and found else row["status"]}


def alone(row: Row) -> Row:
    """Return a row without what only its neighbours showed: what failed for them alone passed by itself."""
    own = [reason for reason in row["reasons"] if reason not in VIDEO_REASONS]
    if own == row["reasons"]:
        return row
    return {**row, "reasons": own, "status": "passed" if row["status"] == FAILED and not own else row["status"]}


def is_ambiguous(row: Row) -> bool:
    """Return whether `alone` would guess: an engine of others may give the reasons of neighbours, or pass with some."""
    return row["engine"] not in KINDS and not VIDEO_REASONS.isdisjoint(row["reasons"])


def asked(row: Mapping[str, Any]) -> set[str]:
    """Return the engines whose measures a row has; rows of former versions have those of `signal`, or none."""
    versions = row.get("engine_versions")
    if versions is None:
        return {SIGNAL.name} if row.get("pcm_md5") is not None else set()
    return {version.partition(" ")[0] for version in versions}


def _decided(row: Row, chain: Chain) -> Row:
    """Return a row as the chain decides; one that keeps its verdict keeps all its reasons."""
    known = asked(row)
    if not known or UNDECODABLE in row["reasons"]:
        return dict(row)
    if MISMATCH in row["reasons"]:
        decider = dict(chain).get(SIGNAL.name) if SIGNAL.name in known else None
        status, reasons = decider.decide(row) if decider else (FAILED, [])
        return {**row, "status": FAILED, "reasons": [MISMATCH, *(reasons if status == FAILED else [])]}
    undecided: list[str] = []
    attempts = 0
    for name, decider in chain:
        if name not in known:
            undecided.append(told(name, None))
            continue
        attempts += 1
        status, reasons = decider.decide(row)
        if status != UNSURE:
            new = {"status": status, "reasons": reasons, "engine": name}
            return _as_before(row, {**new, "attempts": attempts, "detail": "; ".join(undecided) or None}, undecided)
        undecided.append(told(name, reasons))
    detail = ALL_UNSURE if attempts == len(chain) else "; ".join(undecided)
    new = {"status": "error", "reasons": [Reason.ENGINE_FAILED.value], "engine": chain[-1][0]}
    return _as_before(row, {**new, "attempts": attempts, "detail": detail}, undecided)


def _as_before(row: Row, new: Row, undecided: Sequence[str]) -> Row:
    """Return a row with its new verdict; with the former one whole if it is the same but for an engine not measured."""
    former = alone(row)
    same = all(former[key] == new[key] for key in ("status", "engine"))
    if same and sorted(former["reasons"]) == sorted(new["reasons"]) and any(map(_not_measured, undecided)):
        return {**row, "status": new["status"], "reasons": new["reasons"]}
    return {**row, **new}


def _not_measured(text: str) -> bool:
    return text.endswith(": not measured")


def told(name: str, reasons: Sequence[str] | None) -> str:
    """Return what an engine that did not decide said: unsure, with reasons; None: it has no measures."""
    return f"{name}: not measured" if reasons is None else f"{name}: {', '.join([UNSURE, *reasons])}"

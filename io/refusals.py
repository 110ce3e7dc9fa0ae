"""What a stage could not do, and the balance of its units: `refused.jsonl` and `summary.json`."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace

from resplice.io import documents
from resplice.io.store import Store
from resplice.transforms import provenance


@dataclass(frozen=True, slots=True)
class Refused:
    """One line of refused.jsonl: a unit (and segment) that could not be done, why, and since when."""

    run_id: str
    stage: str
    unit: str
    segment: str
    reason: str
    detail: str
    at: str


@dataclass(frozen=True)
class Summary:
    """The state of a stage's units: in = done + skipped + refused, each counted from its own source.

    `counters` are further counts of a job, under names of its own.
    """

    stage: str
    total: int
    done: int
    skipped: int
    refused: int
    by_reason: dict[str, int]
    unit: str = "video"
    counters: dict[str, int] = field(default_factory=dict)

    @property
    def balanced(self) -> bool:
        """Return whether the units add up."""
        return self.total == self.done + self.skipped + self.refused

    def to_json(self) -> dict[str, object]:
        """Return the content of summary.json."""
        values = {name: value for name, value in asdict(self).items() if name not in ("total", "counters")}
        return {"in": self.total, **values, **self.counters}


def put(store: Store, key: str, data: bytes) -> bool:
    """Write an object unless it holds just these bytes already; return whether it was written."""
    with contextlib.suppress(FileNotFoundError):
        if store.read(key) == data:
            return False
    return store.replace(key, data, None)


def load(store: Store, stage: str) -> list[Refused]:
    """Return the refusals of a stage (`stage` is its key prefix), [] if it has none."""
    try:
        lines = documents.load_lines(store, f"{stage}/refused.jsonl")
    except FileNotFoundError:
        return []
    return [Refused(**line) for line in lines]


def write(store: Store, stage: str, refused: Iterable[Refused]) -> None:
    """Write the refusals of a stage, sorted by unit and segment; one that was there already keeps its moment."""
    before = {replace(line, at=""): line.at for line in load(store, stage)}
    lines = sorted(
        {replace(line, at=before.get(replace(line, at=""), line.at)) for line in refused},
        key=lambda line: (line.unit, line.segment, line.reason, line.detail),
    )
    put(store, f"{stage}/refused.jsonl", provenance.jsonl(asdict(line) for line in lines))


def summarise(
    store: Store, stage: str, name: str, total: int, done: int, skipped: int, unit: str = "video",
    counters: Mapping[str, int] | None = None,
) -> Summary:  # fmt: skip
    """Write and return the summary of a stage; the refused units are counted from refused.jsonl.

    `unit` says what is counted: a "video" counts once whatever it was refused for, a "result" is a line of its own.
    """
    lines = load(store, stage)
    reasons = [line.reason for line in lines]
    if unit == "video":
        reasons = list({line.unit: line.reason for line in reversed(lines)}.values())
    summary = Summary(name, total, done, skipped, len(reasons), dict(sorted(Counter(reasons).items())), unit,
                      dict(counters or {}))  # fmt: skip
    put(store, f"{stage}/summary.json", provenance.document(summary.to_json()))
    return summary


def load_summary(store: Store, stage: str) -> Summary | None:
    """Return the summary of a stage, None if it has not ended once."""
    try:
        values = documents.load(store, f"{stage}/summary.json")
    except FileNotFoundError:
        return None
    total, names = values.pop("in"), {field_.name for field_ in fields(Summary)}
    counters = {name: values.pop(name) for name in list(values) if name not in names}
    return Summary(total=total, **values, counters=counters)

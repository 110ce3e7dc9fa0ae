"""What judging cost: the seconds of each engine and how many segments it was asked about, in the ledger's counts.

The engines that were missing where it was judged are told there, too: they were skipped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from resplice.io.ledger import Entry

ASKED, SECONDS = "asked:", "engine_s:"
SKIPPED = "skipped:"


class Spent:
    """The costs of one video, in all processes that judged segments of it for the same inputs."""

    def __init__(self, before: Mapping[str, float]) -> None:
        self.counts = {name: value for name, value in before.items() if name.startswith((ASKED, SECONDS))}

    def take(self, spent: Iterable[tuple[str, float]]) -> None:
        """Count the seconds of each engine that was asked about one segment."""
        for name, seconds in spent:
            self.counts[ASKED + name] = self.counts.get(ASKED + name, 0) + 1
            self.counts[SECONDS + name] = round(self.counts.get(SECONDS + name, 0.0) + seconds, 6)


def total(entries: Iterable[Entry]) -> dict[str, dict[str, float]]:
    """Return what each engine cost in all: {engine: {"asked": segments, "seconds": s}}, sorted by name."""
    found: dict[str, dict[str, float]] = {}
    for entry in entries:
        for key, value in entry.counts.items():
            for prefix, field in ((ASKED, "asked"), (SECONDS, "seconds")):
                if key.startswith(prefix):
                    line = found.setdefault(key.removeprefix(prefix), {"asked": 0, "seconds": 0.0})
                    line[field] = round(line[field] + value, 6)
    return dict(sorted(found.items()))


def skipping(before: Mapping[str, float], engines: Iterable[str], chain: Iterable[str]) -> dict[str, float]:
    """Return counts that say which of the engines wanted are not in the chain, in place of what they said of that."""
    there = set(chain)
    missing = {SKIPPED + name: 1.0 for name in engines if name not in there}
    return {**{key: value for key, value in before.items() if not key.startswith(SKIPPED)}, **missing}


def skipped(entries: Iterable[Entry]) -> list[str]:
    """Return the engines that were missing where some videos were judged, sorted."""
    return sorted({key.removeprefix(SKIPPED) for e in entries for key in e.counts if key.startswith(SKIPPED)})

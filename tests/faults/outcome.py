"""What a bucket holds and what must be the same, whatever happened on the way: everything but clocks."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from recovering import OWN_RECORDS, SIDECAR

from resplice.io.costs import SECONDS

CLOCKS = {"at", "started_at", "process_started_at", "elapsed_s", "seq"}
"""Fields that tell when, or by which process of a run; so do the seconds of an engine among a unit's counts."""
NOTES = (*OWN_RECORDS, "examined.jsonl", "digests.json", "marks.json")
"""What one process found and did, what it need not read again, and when gc saw an object first."""
OWN = ("/live/", "/probe-", "/outcomes.jsonl")
"""What only the process that wrote it reads: one that was killed leaves it, one that has nothing to do writes none."""
LINES = ("refused.jsonl", "journal.jsonl")
Outcome = dict[str, Any]


def outcome(objects: Mapping[str, bytes]) -> Outcome:
    """Return what must be the same of the objects of a bucket, by their keys."""
    return {key: _told(key, data) for key, data in sorted(objects.items()) if not any(part in key for part in OWN)}


def _told(key: str, data: bytes) -> Any:
    name = key.rpartition("/")[2]
    if name in NOTES:
        return "is there"
    if name.endswith(SIDECAR):
        return _timeless(json.loads(data))
    if "/ledger/" in key or name in LINES:
        return [_timeless(json.loads(line)) for line in data.splitlines()]
    return hashlib.sha256(data).hexdigest()


def _timeless(value: dict[str, Any]) -> dict[str, Any]:
    return {
        name: _timeless(each) if name == "counts" else each
        for name, each in value.items()
        if name not in CLOCKS and not name.startswith(SECONDS)
    }


def differences(found: Outcome, expected: Outcome) -> list[str]:
    """Return what is lost, too much, or other than expected."""
    lost = [f"lost: {key}" for key in sorted(expected.keys() - found.keys())]
    more = [f"too much: {key}" for key in sorted(found.keys() - expected.keys())]
    both = sorted(found.keys() & expected.keys())
    other = [f"other: {key}{_where(found[key], expected[key])}" for key in both if found[key] != expected[key]]
    return lost + more + other


def _where(found: Any, expected: Any) -> str:
    """Return the path of the first field that differs, and its two values."""
    if isinstance(found, dict) and isinstance(expected, dict):
        for name in sorted(found.keys() | expected.keys()):
            if found.get(name) != expected.get(name):
                return f".{name}{_where(found.get(name), expected.get(name))}"
    if isinstance(found, list) and isinstance(expected, list) and len(found) == len(expected):
        for at, (one, other) in enumerate(zip(found, expected, strict=True)):
            if one != other:
                return f"[{at}]{_where(one, other)}"
    return f": {found!r:.200}, not {expected!r:.200}"


def digest(value: Any) -> str:
    """Return the SHA-256 of a value that JSON can hold."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()
